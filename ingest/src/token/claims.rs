//! The claims of a token, and whether they hold here and now. The signature has been verified by then.

use serde::{Deserialize, Deserializer, de::Error};
use shared::{
    Subject,
    json::{self, FieldError, Text, required},
    rights::{Rights, RightsTemplate},
};

use crate::grant::{Grant, LEEWAY_SECONDS};

/// The claims that tokens must make besides `sub` and `exp`, and the rights of those without the claim `rooms`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimRules {
    /// The value that `iss` must have, if there is one.
    pub issuer: Option<String>,
    /// The value that `aud` must contain, if there is one.
    pub audience: Option<String>,
    /// The rights of the subject of a token without the claim `rooms`.
    pub default_rooms: RightsTemplate,
}

/// The reason why claims are refused. The error never quotes a claim, except the subject, which was signed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// The payload is no JSON object.
    #[error("the token's payload is no JSON object")]
    Payload,
    /// A claim is missing, or there twice; the text says which.
    #[error("the token's claims: {0}")]
    Fields(String),
    /// A claim has the wrong form.
    #[error("the token's claim `{0}` is null or has the wrong form")]
    Form(String),
    /// The token is over.
    #[error("the token of {0:?} has expired")]
    Expired(String),
    /// The token is not good yet.
    #[error("the token of {0:?} is not good before a time still to come (`nbf`)")]
    Early(String),
    /// The token is of another issuer.
    #[error("the token of {0:?} is of another issuer (`iss`)")]
    Issuer(String),
    /// The token is for another application.
    #[error("the token of {0:?} is for another audience (`aud` or `client_id`)")]
    Audience(String),
    /// The token is for another use.
    #[error("the token of {0:?} is for another use (`token_use`)")]
    Use(String),
}

#[derive(Debug, Deserialize)]
struct Claims {
    #[serde(deserialize_with = "required")]
    sub: SubjectClaim,
    #[serde(deserialize_with = "required")]
    exp: NumericDate,
    nbf: Option<NumericDate>,
    iss: Option<Text>,
    aud: Option<Audience>,
    /// The application, in access tokens of Cognito, which have no `aud`.
    client_id: Option<Text>,
    token_use: Option<Text>,
    /// `null` is refused: it must not be taken for a missing claim, which would give the default rights.
    #[serde(default, deserialize_with = "present")]
    rooms: Option<Rights>,
}

#[derive(Debug)]
struct SubjectClaim(Subject);

/// Seconds since the Unix epoch, not always an integer (RFC 7519, section 2).
#[derive(Clone, Copy, Debug, Deserialize)]
struct NumericDate(f64);

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl<'de> Deserialize<'de> for SubjectClaim {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Text(text) = Text::deserialize(deserializer)?;
        Subject::parse(&text).map(Self).map_err(D::Error::custom)
    }
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Rights>, D::Error> {
    Rights::deserialize(deserializer).map(Some)
}

impl Audience {
    fn contains(&self, audience: &str) -> bool {
        match self {
            Self::One(one) => one == audience,
            Self::Several(several) => several.iter().any(|one| one == audience),
        }
    }
}

impl ClaimRules {
    /// Turns a payload into its bearer's grant. `token_use` is what the claim of that name must be, if anything.
    ///
    /// # Errors
    /// When a claim is missing or bad, or does not hold.
    pub fn grant(&self, payload: &str, token_use: Option<&str>, now_seconds: u64) -> Result<Grant, ClaimError> {
        let claims: Claims = json::read(payload).map_err(|error| match error {
            FieldError::Invalid(claim, _) => ClaimError::Form(claim.into_owned()),
            FieldError::Fields(problem) => ClaimError::Fields(problem),
            FieldError::NotAnObject(_) | FieldError::TooLarge { .. } => ClaimError::Payload,
        })?;
        let Claims { sub: SubjectClaim(subject), exp, nbf, iss, aud, client_id, token_use: used_as, rooms } = claims;
        let refuse = |error: fn(String) -> ClaimError| Err(error(subject.as_str().to_owned()));
        let is = |claim: &Option<Text>, wanted: &str| claim.as_ref().is_some_and(|Text(text)| text == wanted);
        if self.issuer.as_ref().is_some_and(|issuer| !is(&iss, issuer)) {
            return refuse(ClaimError::Issuer);
        }
        if let Some(audience) = &self.audience {
            let is_meant = aud.as_ref().map_or_else(|| is(&client_id, audience), |aud| aud.contains(audience));
            if !is_meant {
                return refuse(ClaimError::Audience);
            }
        }
        if token_use.is_some_and(|wanted| !is(&used_as, wanted)) {
            return refuse(ClaimError::Use);
        }
        if nbf.is_some_and(|nbf| nbf.whole_seconds() > now_seconds.saturating_add(LEEWAY_SECONDS)) {
            return refuse(ClaimError::Early);
        }
        let rights = rooms.unwrap_or_else(|| self.default_rooms.of(&subject));
        let grant = Grant { subject, rights, expires_at: exp.whole_seconds() };
        if grant.is_over(now_seconds) {
            return Err(ClaimError::Expired(grant.subject.as_str().to_owned()));
        }
        Ok(grant)
    }
}

impl NumericDate {
    /// The date without its fraction; a cast saturates at both ends.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "both are meant")]
    fn whole_seconds(self) -> u64 {
        self.0 as u64
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn rules(issuer: Option<&str>, audience: Option<&str>) -> ClaimRules {
        let [issuer, audience] = [issuer, audience].map(|text| text.map(str::to_owned));
        ClaimRules { issuer, audience, default_rooms: RightsTemplate::default() }
    }

    fn claims(extra: &Value) -> String {
        let mut claims = json!({"sub": "alice", "exp": NOW + 60});
        claims.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        claims.to_string()
    }

    fn grant(extra: &Value) -> Result<Grant, ClaimError> {
        rules(None, None).grant(&claims(extra), None, NOW)
    }

    fn form(claim: &str) -> Result<Grant, ClaimError> {
        Err(ClaimError::Form(claim.to_owned()))
    }

    #[test]
    fn a_token_ends_a_leeway_after_its_expiry_and_may_have_a_fraction() {
        for (exp, ends) in [(json!(NOW), NOW + 5), (json!(1_800_000_000.75), NOW + 5), (json!(1e300), u64::MAX)] {
            let read = |now| rules(None, None).grant(&claims(&json!({"exp": exp})), None, now);
            assert_eq!(read(NOW).unwrap().ends_at(), ends, "{exp}");
            assert_eq!(read(ends).unwrap_err(), ClaimError::Expired("alice".into()), "{exp}");
        }
        for exp in [json!(-1), json!(-1e300), json!(0), json!(NOW - 5)] {
            assert_eq!(grant(&json!({"exp": exp})), Err(ClaimError::Expired("alice".into())), "{exp}");
        }
    }

    #[test]
    fn a_token_may_begin_a_leeway_before_its_time() {
        for (nbf, is_good) in [(json!(NOW + 5), true), (json!(NOW + 6), false), (json!(-1), true), (Value::Null, true)]
        {
            let read = grant(&json!({"nbf": nbf}));
            assert_eq!(read.is_ok(), is_good, "{nbf}: {read:?}");
        }
    }

    #[test]
    fn claims_of_the_wrong_form_are_named_and_not_quoted() {
        for (claim, values) in [
            ("sub", [json!(""), json!(7), Value::Null, json!("a\nb"), json!("s".repeat(257))].as_slice()),
            ("exp", &[json!("1800000060"), Value::Null, json!([NOW + 60])]),
            ("nbf", &[json!("now")]),
            ("iss", &[json!(["https://issuer"])]),
            ("aud", &[json!(7), json!([7])]),
            ("client_id", &[json!({})]),
            ("rooms", &[Value::Null, json!([]), json!({"chat": ["write"]}), json!({"a*b": ["join"]}), json!("{}")]),
        ] {
            for value in values {
                assert_eq!(grant(&json!({claim: value})), form(claim), "{claim} is {value}");
            }
        }
        let refusal = |payload: &str| rules(None, None).grant(payload, None, NOW).unwrap_err();
        for payload in ["", "7", "[]", "\"alice\"", "{", r#"{"sub":"alice","exp":1e400}"#] {
            assert_eq!(refusal(payload), ClaimError::Payload, "{payload}");
        }
        let twice = refusal(r#"{"sub":"alice","exp":9999999999,"sub":"bob"}"#);
        assert_eq!(twice, ClaimError::Fields("duplicate field `sub`".into()));
        assert_eq!(refusal(r#"{"exp":9999999999}"#), ClaimError::Fields("`sub` is missing".into()));
    }

    #[test]
    fn rights_are_those_of_the_token_or_else_those_of_the_template() {
        let template = RightsTemplate::parse(r#"{"inbox:{sub}":["join"]}"#).unwrap();
        let rules = ClaimRules { default_rooms: template, ..ClaimRules::default() };
        let rights =
            |extra: &Value| serde_json::to_string(&rules.grant(&claims(extra), None, NOW).unwrap().rights).unwrap();
        assert_eq!(rights(&json!({})), r#"{"inbox:alice":["join"]}"#);
        assert_eq!(rights(&json!({"rooms": {}})), "{}");
        assert_eq!(rights(&json!({"rooms": {"chat:*": ["send", "join"]}})), r#"{"chat:*":["join","send"]}"#);
        assert_eq!(grant(&json!({})).unwrap().rights, Rights::default());
    }

    #[test]
    fn issuer_and_audience_must_match_where_they_are_configured() {
        let rules = rules(Some("https://issuer"), Some("roomcast"));
        let check = |extra: Value| rules.grant(&claims(&extra), None, NOW);
        for good in [
            json!({"iss": "https://issuer", "aud": "roomcast"}),
            json!({"iss": "https://issuer", "aud": ["x", "roomcast"]}),
            json!({"iss": "https://issuer", "client_id": "roomcast"}),
            json!({"iss": "https://issuer", "aud": null, "client_id": "roomcast"}),
        ] {
            assert!(check(good.clone()).is_ok(), "{good}");
        }
        for (bad, error) in [
            (json!({"iss": "https://issuer/", "aud": "roomcast"}), ClaimError::Issuer("alice".into())),
            (json!({"aud": "roomcast"}), ClaimError::Issuer("alice".into())),
            (json!({"iss": "https://issuer"}), ClaimError::Audience("alice".into())),
            (json!({"iss": "https://issuer", "aud": []}), ClaimError::Audience("alice".into())),
            (
                json!({"iss": "https://issuer", "aud": "x", "client_id": "roomcast"}),
                ClaimError::Audience("alice".into()),
            ),
            (json!({"iss": "https://issuer", "client_id": "other"}), ClaimError::Audience("alice".into())),
        ] {
            assert_eq!(check(bad.clone()), Err(error), "{bad}");
        }
    }

    #[test]
    fn the_use_must_match_where_one_is_asked_for() {
        let check = |extra: Value| rules(None, None).grant(&claims(&extra), Some("access"), NOW);
        assert!(check(json!({"token_use": "access"})).is_ok());
        for bad in [json!({"token_use": "id"}), json!({})] {
            assert_eq!(check(bad.clone()), Err(ClaimError::Use("alice".into())), "{bad}");
        }
    }
}
