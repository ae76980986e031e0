//! A cache of keys. They are read again when they are old, or when a token shows that there are newer ones.

use std::{cell::RefCell, fmt::Display, future::Future, time::Duration};

use shared::clock::Clock;
use tokio::time::timeout;

use super::{
    error::TokenError,
    signed::{Payload, SignedToken},
};

/// The time for which keys are kept beyond their lifetime while they cannot be read again. A short outage of their
/// publisher keeps nobody out; and a key that was revoked is not good for ever.
const GRACE: Duration = Duration::from_hours(1);

/// Time for reading keys. The client waits for its handshake meanwhile.
pub const READ_WITHIN: Duration = Duration::from_secs(2);

/// The time between two attempts to read keys while there are none at all.
const PAUSE_WITHOUT_KEYS: Duration = Duration::from_secs(2);

/// A place where keys are published.
pub trait KeySource {
    /// The published keys.
    type Keys;
    /// The reason why it cannot be read. Its text goes to the log.
    type Error: Display;
    /// The name of the keys in the log.
    const NAME: &'static str;
    /// The least time between two attempts to read them: anybody can send a token with a bad signature, which causes an
    /// attempt.
    const PAUSE: Duration;

    /// Reads the keys, and for how long they may be used without looking again.
    fn read(&self) -> impl Future<Output = Result<(Self::Keys, Duration), Self::Error>>;

    /// Verifies a token's signature.
    ///
    /// # Errors
    /// When none of the keys has made it.
    fn verify(keys: &Self::Keys, token: &SignedToken<'_>) -> Result<Payload, TokenError>;
}

/// The keys of one source. Calls do not overlap: an environment has one event at a time.
pub struct KeyCache<S: KeySource, C> {
    source: S,
    clock: C,
    read_within: Duration,
    state: RefCell<State<S::Keys>>,
}

/// Times are in milliseconds since the Unix epoch, by the wall clock: while an environment is frozen between events,
/// other clocks may stand still.
struct State<K> {
    keys: Option<K>,
    fresh_until: u64,
    tried_at: Option<u64>,
}

impl<S: KeySource, C: Clock> KeyCache<S, C> {
    /// A cache without keys, which are read for the first token.
    pub fn empty(source: S, clock: C) -> Self {
        let state = State { keys: None, fresh_until: 0, tried_at: None };
        Self { source, clock, read_within: READ_WITHIN, state: RefCell::new(state) }
    }

    /// A cache that has read the keys once.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn filled(source: S, clock: C) -> Result<Self, S::Error> {
        let cache = Self::empty(source, clock);
        cache.keep(cache.source.read().await?);
        Ok(cache)
    }

    /// The same with another time for reading keys.
    #[must_use]
    pub fn read_within(mut self, limit: Duration) -> Self {
        self.read_within = limit;
        self
    }

    /// Verifies a token's signature. A token that the kept keys do not verify may have been signed with a newer one:
    /// they are read again, if the last time was long enough ago.
    ///
    /// # Errors
    /// When none of the keys has made the signature, or there are none.
    pub async fn verify(&self, token: &SignedToken<'_>) -> Result<Payload, TokenError> {
        if self.clock.unix_millis() >= self.state.borrow().fresh_until {
            self.refresh().await;
        }
        let verified = self.verify_with_kept(token);
        if verified.is_ok() || !self.refresh().await {
            return verified;
        }
        self.verify_with_kept(token)
    }

    fn verify_with_kept(&self, token: &SignedToken<'_>) -> Result<Payload, TokenError> {
        let mut state = self.state.borrow_mut();
        if self.clock.unix_millis() >= state.fresh_until.saturating_add(millis(GRACE)) {
            state.keys = None;
        }
        S::verify(state.keys.as_ref().ok_or(TokenError::NoKeys(S::NAME))?, token)
    }

    /// Reads the keys again, unless that was tried just now. Says whether there are new ones.
    async fn refresh(&self) -> bool {
        let now = self.clock.unix_millis();
        {
            let mut state = self.state.borrow_mut();
            let pause = if state.keys.is_some() { S::PAUSE } else { S::PAUSE.min(PAUSE_WITHOUT_KEYS) };
            if state.tried_at.is_some_and(|tried_at| now.saturating_sub(tried_at) < millis(pause)) {
                return false;
            }
            state.tried_at = Some(now);
        }
        match timeout(self.read_within, self.source.read()).await {
            Ok(Ok(read)) => {
                self.keep(read);
                return true;
            }
            Ok(Err(error)) => tracing::warn!(keys = S::NAME, %error, "keys cannot be read"),
            Err(_) => tracing::warn!(keys = S::NAME, error = "no answer in time", "keys cannot be read"),
        }
        false
    }

    fn keep(&self, (keys, lifetime): (S::Keys, Duration)) {
        let now = self.clock.unix_millis();
        let fresh_until = now.saturating_add(millis(lifetime));
        *self.state.borrow_mut() = State { keys: Some(keys), fresh_until, tried_at: Some(now) };
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
