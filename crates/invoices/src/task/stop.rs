//! SIGTERM and SIGINT: work stops at the next safe place, and the process ends in any case within
//! the ten seconds that Docker and Kubernetes grant.

use crate::error::{Error, Kind, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// Time to remove unfinished uploads before the process ends anyway; a crash at any point is safe.
const GRACE: Duration = Duration::from_secs(7);

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Ctrl-C at a prompt, see [`keep_on_interrupt`].
static INTERRUPTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// From now on Ctrl-C is for [`take_interrupt`] alone, as at a prompt that goes on after it. For a task that
/// [`super::TaskArgs::is_interactive`], and called when the editor of its lines is there, since that takes the signal too.
///
/// # Errors
/// Retry when the signal can't be had.
pub fn keep_on_interrupt() -> Result<()> {
    let registered = signal_hook::flag::register(SIGINT, INTERRUPTED.clone());
    registered.map(|_| ()).map_err(|error| Error::retry("cannot listen for Ctrl-C").because(error))
}

/// Whether there was a Ctrl-C since the last call.
pub fn take_interrupt() -> bool {
    INTERRUPTED.swap(false, Ordering::Relaxed)
}

pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// Listens for both, or in an interactive task for SIGTERM alone.
pub fn listen(is_interactive: bool) -> Result<()> {
    let wanted: &[i32] = if is_interactive { &[SIGTERM] } else { &[SIGTERM, SIGINT] };
    let mut signals =
        Signals::new(wanted).map_err(|error| Error::retry("cannot listen for signals").because(error))?;
    std::thread::spawn(move || {
        for signal in signals.forever() {
            let again = REQUESTED.swap(true, Ordering::Relaxed);
            tracing::warn!(signal, "stopping at the next safe place");
            if again {
                std::process::exit(i32::from(Kind::Retry.exit_code()));
            }
            std::thread::spawn(|| {
                std::thread::sleep(GRACE);
                std::process::exit(i32::from(Kind::Retry.exit_code()));
            });
        }
    });
    Ok(())
}
