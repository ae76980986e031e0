//! Beats: how often clients sync, by the rules of the client library and of `syncAfterMs`.
//!
//! A frame postpones the beat. 30 seconds after the last frame the client syncs the room, and then each time it has
//! been silent for as long again, within the server's bounds: 30, 60, 120, 240, 480 and 960 seconds after the last
//! message, and then every 540. A connection to which frames keep coming syncs every 540 seconds too.

use super::workload::Setting;

/// Seconds after the last frame when the client library syncs a room: its `syncIntervalMs`.
const AFTER_FRAME: f64 = 30.0;

/// The factor by which jitter shortens the time between two beats, on average.
pub(super) const JITTER: f64 = 0.99;

/// Beats of a session besides the regular ones: one confirms its joins, and since the time until the next starts anew
/// then, half of a regular beat is saved.
pub const PER_SESSION: f64 = 0.5;

/// Beats a second of a connection in so many rooms, each with messages at this rate at random moments. The rooms share
/// the beats during silence, but each has its own beat after a message.
#[must_use]
pub fn per_second(messages_per_second: f64, rooms: f64, setting: &Setting) -> f64 {
    let (least, most) = (setting.sync_min, setting.sync_max * JITTER);
    let slowest = 1.0 / (setting.longest_beat * JITTER);
    if messages_per_second <= 0.0 {
        return slowest.max(1.0 / most);
    }
    // A beat after so many seconds of silence happens as often as there is such a silence.
    let mut after_messages = 0.0;
    let mut silence = AFTER_FRAME;
    while silence < setting.sync_max {
        after_messages += (-messages_per_second * silence).exp();
        silence += silence.clamp(least, setting.sync_max);
    }
    let any = rooms * messages_per_second;
    // `exp_m1` because `1 - exp` loses all digits for a room with a message in years.
    let in_silence = (-any * silence).exp() * (any / -(-any * most).exp_m1());
    slowest.max(any * after_messages + in_silence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::{sessions::sessions, workload::read};

    fn per_second(messages_per_second: f64, rooms: f64) -> f64 {
        let workload = read(r#"{"rooms": [{"members": 1, "messagesPerSecond": 0}]}"#).unwrap();
        super::per_second(messages_per_second, rooms, &workload.setting)
    }

    #[test]
    fn an_idle_connection_beats_as_the_client_library_was_simulated_to() {
        // The README's table for 1,000 connections and 30 days.
        let hours = 24.0 * 30.0;
        let sessions = sessions(hours);
        let beats = hours * 3_600.0 * per_second(0.0, 1.0) + sessions * PER_SESSION;
        assert!((sessions / 414.0 - 1.0).abs() < 0.02, "{sessions}");
        assert!((beats / 5_072.0 - 1.0).abs() < 0.02, "{beats}");
    }

    #[test]
    fn frames_take_the_place_of_beats() {
        let busy = per_second(1.0, 1.0);
        assert!((busy * 540.0 * JITTER - 1.0).abs() < 0.01, "{busy}");
        for hardly_any in [1e-9, 1e-17, 1e-300, f64::from_bits(1)] {
            assert!((per_second(hardly_any, 1.0) / per_second(0.0, 1.0) - 1.0).abs() < 0.01, "{hardly_any} is none");
        }
        // 30, 60, 120, 240, 480 and 960 seconds after a message, and then every nine minutes.
        assert!((per_second(1e-5, 1.0) * 1e5 - 190.0).abs() < 3.0, "{}", per_second(1e-5, 1.0));
    }
}
