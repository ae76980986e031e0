//! Signing requests with AWS Signature Version 4.

use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, SystemTime},
};

use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, SharedCredentialsProvider, error::CredentialsError},
};
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningInstructions, SigningSettings, sign},
    sign::v4,
};
use aws_smithy_runtime_api::client::identity::Identity;
use tokio::sync::Mutex;

/// The service's name for signing.
const SERVICE: &str = "execute-api";

/// How long before they expire credentials are replaced.
const REFRESH_BEFORE: Duration = Duration::from_secs(5 * 60);

/// Signs requests with the credentials of the SDK's provider.
#[derive(Debug)]
pub(super) struct Signer {
    provider: SharedCredentialsProvider,
    region: String,
    held: RefCell<Option<Rc<Held>>>,
    /// Held while credentials are fetched: workers that need them too wait for the same ones.
    fetching: Mutex<()>,
}

/// Credentials, ready for signing.
#[derive(Debug)]
pub(super) struct Held {
    identity: Identity,
    access_key_id: String,
    session_token: Option<String>,
    expires_at: Option<SystemTime>,
}

impl Held {
    /// Whether they are good for this much longer.
    fn lasts(&self, time: Duration) -> bool {
        self.expires_at.is_none_or(|expires_at| SystemTime::now() + time < expires_at)
    }
}

impl From<Credentials> for Held {
    fn from(credentials: Credentials) -> Self {
        Self {
            access_key_id: credentials.access_key_id().to_owned(),
            session_token: credentials.session_token().map(str::to_owned),
            expires_at: credentials.expiry(),
            identity: credentials.into(),
        }
    }
}

impl Signer {
    pub(super) fn new(provider: SharedCredentialsProvider, region: &str) -> Self {
        Self { provider, region: region.to_owned(), held: RefCell::default(), fetching: Mutex::default() }
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
        let is_other =
            |held: &Held| held.access_key_id != refused.access_key_id || held.session_token != refused.session_token;
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

    /// Signs a request: the headers to add to it. `None` when it cannot be signed, since it is no valid request.
    pub(super) fn sign<'a>(
        &self,
        held: &Held,
        (method, url): (&'a str, &'a str),
        headers: impl Iterator<Item = (&'a str, &'a str)>,
        body_sha256: &str,
    ) -> Option<SigningInstructions> {
        let params = v4::SigningParams::builder()
            .identity(&held.identity)
            .region(&self.region)
            .name(SERVICE)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .ok()?;
        // The hash is made once for each frame, not for each connection.
        let body = SignableBody::Precomputed(body_sha256.to_owned());
        let request = SignableRequest::new(method, url, headers, body).ok()?;
        let (instructions, _) = sign(request, &params.into()).ok()?.into_parts();
        Some(instructions)
    }
}
