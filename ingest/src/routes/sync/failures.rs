//! The reasons why a `sync` has left rooms out.

use shared::store::StoreError;

/// The reasons why rooms were left out. A throttle takes precedence, since the client should then wait.
#[derive(Debug, Default)]
pub(super) struct Failures {
    /// The failure of which the client is told if no room at all was served.
    pub(super) worst: Option<StoreError>,
}

impl Failures {
    /// Whether a table has throttled a call.
    #[must_use]
    pub(super) fn is_throttled(&self) -> bool {
        self.worst.as_ref().is_some_and(StoreError::is_throttled)
    }

    /// Logs why so many rooms were left out, if there is a reason.
    pub(super) fn log(&self, left_out: usize) {
        match &self.worst {
            Some(error) if self.is_throttled() => tracing::warn!(%error, left_out, "rooms left out of a sync"),
            Some(error) => tracing::error!(%error, left_out, "rooms left out of a sync"),
            None => {}
        }
    }
}

impl Extend<StoreError> for Failures {
    fn extend<T: IntoIterator<Item = StoreError>>(&mut self, errors: T) {
        for error in errors {
            if self.worst.is_none() || error.is_throttled() {
                self.worst = Some(error);
            }
        }
    }
}
