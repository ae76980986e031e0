//! The credentials that posts are signed with.

use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, SystemTime},
};

use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, SharedCredentialsProvider, error::CredentialsError},
};
use tokio::sync::Mutex;

use super::signature::{Stamp, unix_second};

/// How long before they expire credentials are replaced.
const REFRESH_BEFORE: Duration = Duration::from_secs(5 * 60);

/// Holds the credentials of the SDK's provider, for posts to one host.
pub(super) struct Signer {
    provider: SharedCredentialsProvider,
    region: String,
    host: String,
    held: RefCell<Option<Rc<Held>>>,
    /// Held while credentials are fetched: workers that need them too wait for the same ones.
    fetching: Mutex<()>,
}

/// Credentials, ready for signing.
pub(super) struct Held {
    credentials: Credentials,
    stamp: RefCell<Option<Rc<Stamp>>>,
}

impl Held {
    /// Whether they are good for this much longer.
    fn lasts(&self, time: Duration) -> bool {
        self.credentials.expiry().is_none_or(|expires_at| SystemTime::now() + time < expires_at)
    }
}

impl From<Credentials> for Held {
    fn from(credentials: Credentials) -> Self {
        Self { credentials, stamp: RefCell::default() }
    }
}

impl Signer {
    pub(super) fn new(provider: SharedCredentialsProvider, region: &str, host: &str) -> Self {
        let (region, host) = (region.to_owned(), host.to_owned());
        Self { provider, region, host, held: RefCell::default(), fetching: Mutex::default() }
    }

    /// The credentials to sign with: the held ones, or new ones before those expire.
    pub(super) async fn credentials(&self) -> Result<Rc<Held>, CredentialsError> {
        if let Some(held) = self.held_for(REFRESH_BEFORE) {
            return Ok(held);
        }
        let _fetching = self.fetching.lock().await;
        // Another worker may have fetched them while this one waited.
        if let Some(held) = self.held_for(REFRESH_BEFORE) {
            return Ok(held);
        }
        match self.fetch().await {
            Ok(held) => Ok(held),
            // There is time to try again: the held ones are still good.
            Err(error) => self.held_for(Duration::ZERO).ok_or(error),
        }
    }

    /// Fetches credentials anew, because the server refused what was signed with `refused`. Says whether there are
    /// others now.
    pub(super) async fn replace(&self, refused: &Held) -> bool {
        let _fetching = self.fetching.lock().await;
        let identity = |held: &Held| {
            let credentials = &held.credentials;
            (credentials.access_key_id().to_owned(), credentials.session_token().map(str::to_owned))
        };
        let is_other = |held: &Held| identity(held) != identity(refused);
        let replaced = self.held.borrow().as_deref().is_some_and(is_other);
        replaced || self.fetch().await.is_ok_and(|held| is_other(&held))
    }

    /// The held credentials, if they are good for this much longer.
    fn held_for(&self, time: Duration) -> Option<Rc<Held>> {
        let held = self.held.borrow();
        held.as_ref().filter(|held| held.lasts(time)).cloned()
    }

    async fn fetch(&self) -> Result<Rc<Held>, CredentialsError> {
        let held = Rc::new(Held::from(self.provider.provide_credentials().await?));
        self.held.replace(Some(held.clone()));
        Ok(held)
    }

    /// What posts made now are signed with. `None` when these credentials cannot sign a request.
    pub(super) fn stamp(&self, held: &Held) -> Option<Rc<Stamp>> {
        let second = unix_second();
        let mut stamp = held.stamp.borrow_mut();
        if stamp.as_ref().is_none_or(|stamp| !stamp.is_of(second)) {
            *stamp = Stamp::new(&held.credentials, &self.region, &self.host, second).map(Rc::new);
        }
        stamp.clone()
    }
}
