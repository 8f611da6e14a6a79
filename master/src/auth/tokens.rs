//! JSON web tokens of service accounts: ES256 (RFC 7515, RFC 7518) with a key of the cluster's own.
use crate::error::ApiError;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    UnparsedPublicKey,
};
use rkube_http::file;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::io;
use std::path::Path;

/// Signs tokens of service accounts.
pub trait Signer: std::fmt::Debug + Send + Sync {
    /// Who is said to have made them.
    fn issuer(&self) -> &str;
    /// A token with these claims.
    ///
    /// # Errors
    /// The system has no random numbers.
    fn sign(&self, claims: &Value) -> Result<String, ApiError>;
}

/// A key that signs and checks.
pub struct Key {
    issuer: String,
    id: String,
    pair: EcdsaKeyPair,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", self.id)
    }
}

impl Key {
    /// The key at `path`, made if it is not there.
    ///
    /// # Errors
    /// Names the file.
    pub fn open(path: &Path, issuer: &str) -> io::Result<Self> {
        if !path.exists() {
            let document = EcdsaKeyPair::generate_pkcs8(
                &ECDSA_P256_SHA256_FIXED_SIGNING,
                &SystemRandom::new(),
            );
            let document =
                document.map_err(|_| io::Error::other("the system gives no random numbers"))?;
            file::write(path, &pem(document.as_ref()), 0o600)?;
        }
        let text = fs_err::read(path)?;
        let wrong = |what: String| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{}: {what}", path.display()),
            )
        };
        let key = PrivatePkcs8KeyDer::from_pem_slice(&text)
            .map_err(|err| wrong(format!("there is no private key in it: {err}")))?;
        let pair = EcdsaKeyPair::from_pkcs8(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            key.secret_pkcs8_der(),
            &SystemRandom::new(),
        )
        .map_err(|err| wrong(format!("the key is not one of the curve P-256: {err}")))?;
        let id = BASE64.encode(Sha256::digest(pair.public_key().as_ref()));
        Ok(Key {
            issuer: issuer.to_owned(),
            id,
            pair,
        })
    }

    /// The claims of a token that this key has signed. Whether they hold now is not asked.
    #[must_use]
    pub fn claims(&self, token: &str) -> Option<Value> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (head, body) = signed.split_once('.')?;
        let head: Value = serde_json::from_slice(&BASE64.decode(head).ok()?).ok()?;
        // Never the algorithm that a token chooses.
        if head.get("alg").and_then(Value::as_str) != Some("ES256") || head.get("crit").is_some() {
            return None;
        }
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.pair.public_key());
        let signature = BASE64.decode(signature).ok()?;
        public.verify(signed.as_bytes(), &signature).ok()?;
        serde_json::from_slice(&BASE64.decode(body).ok()?).ok()
    }

    /// The public key as others read it (RFC 7517).
    #[must_use]
    pub fn jwks(&self) -> Value {
        // An uncompressed point: a byte, then the two coordinates.
        let point = self.pair.public_key().as_ref();
        let (x, y) = point
            .get(1..)
            .unwrap_or_default()
            .split_at(32.min(point.len() - 1));
        json!({"keys": [{
            "use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": "ES256",
            "x": BASE64.encode(x), "y": BASE64.encode(y),
        }]})
    }

    /// Where others find that key (OpenID Connect discovery).
    #[must_use]
    pub fn configuration(&self, jwks: &str) -> Value {
        json!({
            "issuer": self.issuer, "jwks_uri": jwks, "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["ES256"],
        })
    }
}

impl Signer for Key {
    fn issuer(&self) -> &str {
        &self.issuer
    }
    fn sign(&self, claims: &Value) -> Result<String, ApiError> {
        let head = json!({"alg": "ES256", "kid": self.id, "typ": "JWT"});
        let encode = |value: &Value| BASE64.encode(value.to_string());
        let signed = format!("{}.{}", encode(&head), encode(claims));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes());
        let signature =
            signature.map_err(|_| ApiError::internal("the system gives no random numbers"))?;
        Ok(format!("{signed}.{}", BASE64.encode(signature)))
    }
}

fn pem(key: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(key);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .filter_map(|line| std::str::from_utf8(line).ok())
        .collect();
    format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        lines.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_is_known_again_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let open = |name: &str| Key::open(&dir.path().join(name), "https://x").unwrap();
        let (key, other) = (open("a"), open("b"));
        let claims = json!({"sub": "me", "exp": 5});
        let token = key.sign(&claims).unwrap();
        assert_eq!(key.claims(&token), Some(claims.clone()));
        assert_eq!(
            open("a").claims(&token),
            Some(claims.clone()),
            "after a restart"
        );
        assert_eq!(other.claims(&token), None);
        let parts: Vec<&str> = token.split('.').collect();
        let forged = BASE64.encode(json!({"sub": "you"}).to_string());
        let none = BASE64.encode(json!({"alg": "none"}).to_string());
        let symmetric = BASE64.encode(json!({"alg": "HS256"}).to_string());
        for wrong in [
            format!("{}.{forged}.{}", parts[0], parts[2]),
            format!("{none}.{}.", parts[1]),
            format!("{symmetric}.{}.{}", parts[1], parts[2]),
            format!("{}.{}", parts[0], parts[1]),
            format!("{token}x"),
            String::new(),
            "..".to_owned(),
        ] {
            assert_eq!(key.claims(&wrong), None, "{wrong}");
        }
        let jwks = key.jwks();
        assert_eq!(jwks["keys"][0]["x"].as_str().unwrap().len(), 43);
        assert_eq!(jwks["keys"][0]["y"].as_str().unwrap().len(), 43);
    }
}
