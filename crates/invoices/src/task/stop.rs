//! SIGTERM and SIGINT: work stops at the next safe place, and the process ends in any case within
//! the ten seconds that Docker and Kubernetes grant.

use crate::error::{Error, Kind, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Time to remove unfinished uploads before the process ends anyway; a crash at any point is safe.
const GRACE: Duration = Duration::from_secs(7);

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Whether Ctrl-C ends what is being done and not the process.
static KEPT: AtomicBool = AtomicBool::new(false);
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C is for [`take_interrupt`] alone, as in a prompt that goes on after it.
pub fn keep_on_interrupt() {
    KEPT.store(true, Ordering::Relaxed);
}

/// Whether there was a Ctrl-C since the last call.
pub fn take_interrupt() -> bool {
    INTERRUPTED.swap(false, Ordering::Relaxed)
}

pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

pub fn listen() -> Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])
        .map_err(|error| Error::retry("cannot listen for signals").because(error))?;
    std::thread::spawn(move || {
        for signal in signals.forever() {
            if signal == SIGINT && KEPT.load(Ordering::Relaxed) {
                INTERRUPTED.store(true, Ordering::Relaxed);
                continue;
            }
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
