//! The open batch on its way to the writing thread.

use super::Service;
use super::order::IDLE;
use invoices::Result;
use std::sync::Arc;
use std::time::Duration;

/// A queue that is full for this long is worth telling the group that this consumer lives.
const STALLED: Duration = Duration::from_millis(100);

impl Service<'_> {
    /// Looks for changed rules; one batch is decided by one rule set.
    pub(super) fn refresh_rules(&mut self) -> Result<()> {
        let before = self.rules.active();
        self.rules.refresh();
        if Arc::ptr_eq(&before, &self.rules.active()) { Ok(()) } else { self.flush() }
    }

    /// Hands the open batch over when it is due; while the queue is full the group hears that this
    /// consumer lives.
    pub(super) fn hand_over(&mut self) -> Result<()> {
        while !self.writer.hand_over(self.args.service.batch_max) {
            if !self.writer.wait_for_room(STALLED) {
                self.writer.check()?;
                self.stay_in_group()?;
            }
        }
        Ok(())
    }

    /// Waits until everything that is decided is written.
    pub(super) fn flush(&mut self) -> Result<()> {
        while !self.writer.flush(IDLE) {
            self.writer.check()?;
            self.stay_in_group()?;
        }
        Ok(())
    }

    pub(super) fn keep_at_end(&mut self) {
        if let Some(checkpointer) = self.checkpointer.take() {
            checkpointer.keep_at_end(std::mem::take(&mut self.partitions));
        }
    }
}
