//! Sessions: how often connections are opened.

/// Minutes after which a connection is handed over to the next, on average.
const SESSION_MINUTES: f64 = 104.35;

/// Sessions that a connection has in a day of so many hours.
#[must_use]
pub fn sessions(hours: f64) -> f64 {
    if hours > 0.0 { (hours * 60.0 / SESSION_MINUTES).max(1.0) } else { 0.0 }
}
