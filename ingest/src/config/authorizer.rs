//! The `authorizer` function's configuration.

use http::Uri;
use shared::{
    config::{ConfigError, Settings},
    rights::RightsTemplate,
};

use crate::{origins::AllowedOrigins, token::claims::ClaimRules};

const SECRET_ARN: &str = "AUTH_SECRET_ARN";
const JWKS_URL: &str = "AUTH_JWKS_URL";
const TOKEN_USE: &str = "AUTH_TOKEN_USE";
const ISSUER: &str = "AUTH_ISSUER";
const AUDIENCE: &str = "AUTH_AUDIENCE";
const DEFAULT_ROOMS: &str = "AUTH_DEFAULT_ROOMS";
const ORIGINS: &str = "ALLOWED_ORIGINS";

/// The `authorizer` function's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizerConfig {
    /// `AUTH_SECRET_ARN`: where the secrets of HS256 tokens are, if those are taken.
    pub secret_arn: Option<String>,
    /// `AUTH_JWKS_URL`: where the keys of RS256 and ES256 tokens are, if those are taken.
    pub jwks_url: Option<Uri>,
    /// `AUTH_TOKEN_USE`: what `token_use` must be in those, if anything.
    pub token_use: Option<String>,
    /// `AUTH_ISSUER`, `AUTH_AUDIENCE` and `AUTH_DEFAULT_ROOMS`.
    pub rules: ClaimRules,
    /// `ALLOWED_ORIGINS`: which pages may connect.
    pub allowed_origins: AllowedOrigins,
}

impl AuthorizerConfig {
    /// Reads the configuration.
    ///
    /// # Errors
    /// When any variable is missing or wrong.
    pub fn read<L: Fn(&str) -> Option<String>>(mut settings: Settings<L>) -> Result<Self, ConfigError> {
        let secret_arn = settings.optional(SECRET_ARN);
        let has_jwks = settings.optional(JWKS_URL).is_some();
        if secret_arn.is_none() && !has_jwks {
            settings.refuse(SECRET_ARN, format!("is missing, and so is {JWKS_URL}: no token could be verified"));
        }
        let jwks_url = jwks_url(&mut settings);
        let (issuer, audience) = if has_jwks {
            // Otherwise the issuer's tokens for its other applications would be let in.
            (Some(settings.required(ISSUER)), Some(settings.required(AUDIENCE)))
        } else {
            (settings.optional(ISSUER), settings.optional(AUDIENCE))
        };
        let token_use = match settings.one_of(TOKEN_USE, &["any", "access", "id"], "any") {
            "any" => None,
            token_use => Some(token_use.to_owned()),
        };
        if token_use.is_some() && !has_jwks {
            settings.refuse(TOKEN_USE, format!("is of no use without {JWKS_URL}"));
        }
        let default_rooms = RightsTemplate::parse(&settings.or(DEFAULT_ROOMS, "{}")).unwrap_or_else(|error| {
            settings.refuse(DEFAULT_ROOMS, format!("must be a JSON object of room patterns and rights: {error}"));
            RightsTemplate::default()
        });
        let allowed_origins = AllowedOrigins::parse(&settings.or(ORIGINS, "")).unwrap_or_else(|error| {
            settings.refuse(ORIGINS, error.to_string());
            AllowedOrigins::default()
        });
        let rules = ClaimRules { issuer, audience, default_rooms };
        settings.finish(Self { secret_arn, jwks_url, token_use, rules, allowed_origins })
    }
}

/// The URL must be HTTPS, since somebody who could change the keys on their way could let anybody in. Plain HTTP is
/// taken for this machine itself, where there is no such way.
fn jwks_url<L: Fn(&str) -> Option<String>>(settings: &mut Settings<L>) -> Option<Uri> {
    let text = settings.optional(JWKS_URL)?;
    let uri: Option<Uri> = text.parse().ok();
    let uri = uri.filter(|uri| {
        let is_loopback = matches!(uri.host(), Some("localhost" | "127.0.0.1" | "[::1]"));
        let is_plain = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        is_plain && (uri.scheme_str() == Some("https") || uri.scheme_str() == Some("http") && is_loopback)
    });
    if uri.is_none() {
        settings.refuse(JWKS_URL, format!("must be an https URL (http only on this machine), is {text:?}"));
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::{super::tests::settings, *};

    #[test]
    fn the_authorizer_needs_keys_and_of_an_issuer_its_name_and_the_audience() {
        let refusal = |variables: &[_]| AuthorizerConfig::read(settings(variables)).unwrap_err().to_string();
        let error = refusal(&[]);
        assert_eq!(
            error,
            "bad configuration, 1 variable: AUTH_SECRET_ARN is missing, and so is AUTH_JWKS_URL: no token could be verified"
        );
        let error = refusal(&[("AUTH_JWKS_URL", "https://issuer.example/keys")]);
        assert_eq!(error, "bad configuration, 2 variables: AUTH_ISSUER is missing; AUTH_AUDIENCE is missing");
        let error = refusal(&[("AUTH_SECRET_ARN", "arn:x"), ("AUTH_TOKEN_USE", "id")]);
        assert_eq!(error, "bad configuration, 1 variable: AUTH_TOKEN_USE is of no use without AUTH_JWKS_URL");
        let error = refusal(&[
            ("AUTH_JWKS_URL", "http://issuer.example/keys"),
            ("AUTH_ISSUER", "i"),
            ("AUTH_TOKEN_USE", "refresh"),
            ("AUTH_DEFAULT_ROOMS", r#"{"a*b":["join"]}"#),
            ("ALLOWED_ORIGINS", "https://a.example,b.example"),
        ]);
        for part in ["5 variables", "AUTH_AUDIENCE is missing", "AUTH_JWKS_URL must", "one of any, access, id", "a*b"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert!(error.contains("ALLOWED_ORIGINS has the entry \"b.example\""), "{error}");
    }

    #[test]
    fn keys_are_fetched_over_https_or_from_this_machine() {
        let read = |url: &str| {
            let variables = [("AUTH_JWKS_URL", url), ("AUTH_ISSUER", "i"), ("AUTH_AUDIENCE", "a")];
            AuthorizerConfig::read(settings(&variables)).is_ok()
        };
        for good in [
            "https://issuer.example/keys",
            "https://issuer.example:8443/keys?v=1",
            "http://127.0.0.1:8080/keys",
            "http://localhost/keys",
            "http://[::1]:8080/keys",
        ] {
            assert!(read(good), "{good}");
        }
        for bad in [
            "http://issuer.example/keys",
            "http://localhost.evil.example/keys",
            "http://127.0.0.1@evil.example/keys",
            "http://127.0.0.1.evil.example/keys",
            "https://user:password@issuer.example/keys",
            "ftp://localhost/keys",
            "/keys",
            "issuer.example",
            "https://",
        ] {
            assert!(!read(bad), "{bad}");
        }
    }
}
