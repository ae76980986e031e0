//! Calls that wait until the test lets them go.

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
    /// Lets go of every call that waits, and of all that come.
    pub fn release(&self) {
        self.0.send_replace(true);
    }

    pub(super) async fn released(&self) {
        // The sender is at hand, so the channel is not closed.
        let _ = self.0.subscribe().wait_for(|released| *released).await;
    }
}
