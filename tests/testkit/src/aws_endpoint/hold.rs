//! Calls that wait until the test releases them.

use tokio::sync::watch;

/// A gate for calls; clones are the same gate.
#[derive(Clone, Debug)]
pub struct Hold(watch::Sender<bool>);

impl Default for Hold {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Hold {
    /// Releases every call that waits, and all that come later.
    pub fn release(&self) {
        self.0.send_replace(true);
    }

    pub(super) async fn released(&self) {
        // The sender exists as long as `self`, so the channel is not closed.
        let _ = self.0.subscribe().wait_for(|released| *released).await;
    }
}
