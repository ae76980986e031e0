//! The credentials that calls are signed with.

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

use super::signature::{Scope, SigningContext, unix_second};

/// Credentials are replaced this long before they expire.
const REFRESH_BEFORE: Duration = Duration::from_secs(5 * 60);

/// Keeps the credentials of the SDK's provider, to sign the calls to one endpoint.
pub(super) struct Signer {
    provider: SharedCredentialsProvider,
    scope: Scope,
    cached: RefCell<Option<Rc<CachedCredentials>>>,
    /// Locked while credentials are fetched: other calls wait for the same fetch.
    fetching: Mutex<()>,
}

/// Credentials, with the signing context of the current second once a call has needed it.
pub(super) struct CachedCredentials {
    credentials: Credentials,
    context: RefCell<Option<Rc<SigningContext>>>,
}

impl CachedCredentials {
    /// Whether the credentials are valid for at least this much longer.
    fn lasts(&self, time: Duration) -> bool {
        self.credentials.expiry().is_none_or(|expires_at| SystemTime::now() + time < expires_at)
    }
}

impl From<Credentials> for CachedCredentials {
    fn from(credentials: Credentials) -> Self {
        Self { credentials, context: RefCell::default() }
    }
}

impl Signer {
    pub(super) fn new(provider: SharedCredentialsProvider, scope: Scope) -> Self {
        Self { provider, scope, cached: RefCell::default(), fetching: Mutex::default() }
    }

    /// The credentials to sign with: the cached ones, or new ones before those expire.
    pub(super) async fn credentials(&self) -> Result<Rc<CachedCredentials>, CredentialsError> {
        if let Some(cached) = self.cached_for(REFRESH_BEFORE) {
            return Ok(cached);
        }
        let _fetching = self.fetching.lock().await;
        // Another call may have fetched them while this one waited.
        if let Some(cached) = self.cached_for(REFRESH_BEFORE) {
            return Ok(cached);
        }
        match self.fetch().await {
            Ok(fetched) => Ok(fetched),
            // The cached ones are still valid, so the next call can try again.
            Err(error) => self.cached_for(Duration::ZERO).ok_or(error),
        }
    }

    /// Fetches credentials anew, because the server refused a call that was signed with `refused`. Returns whether
    /// there are other credentials now.
    pub(super) async fn replace(&self, refused: &CachedCredentials) -> bool {
        let _fetching = self.fetching.lock().await;
        let identity = |cached: &CachedCredentials| {
            let credentials = &cached.credentials;
            (credentials.access_key_id().to_owned(), credentials.session_token().map(str::to_owned))
        };
        let is_other = |cached: &CachedCredentials| identity(cached) != identity(refused);
        let replaced = self.cached.borrow().as_deref().is_some_and(is_other);
        replaced || self.fetch().await.is_ok_and(|fetched| is_other(&fetched))
    }

    /// The cached credentials, if they are valid for at least this much longer.
    fn cached_for(&self, time: Duration) -> Option<Rc<CachedCredentials>> {
        let cached = self.cached.borrow();
        cached.as_ref().filter(|cached| cached.lasts(time)).cloned()
    }

    async fn fetch(&self) -> Result<Rc<CachedCredentials>, CredentialsError> {
        let fetched = Rc::new(CachedCredentials::from(self.provider.provide_credentials().await?));
        self.cached.replace(Some(fetched.clone()));
        Ok(fetched)
    }

    /// The context that calls are signed with in this second. `None` when these credentials cannot sign a request.
    pub(super) fn context(&self, cached: &CachedCredentials) -> Option<Rc<SigningContext>> {
        let second = unix_second();
        let mut context = cached.context.borrow_mut();
        if context.as_ref().is_none_or(|context| context.second != second) {
            *context = SigningContext::new(&cached.credentials, &self.scope, second).map(Rc::new);
        }
        context.clone()
    }
}
