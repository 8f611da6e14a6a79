//! Who asks: by a bearer token, or by a client certificate.
use super::bootstrap::Bootstrap;
use super::service::ServiceAccounts;
use super::{AUTHENTICATED, MASTERS};
use crate::call::User;
use crate::error::ApiError;
use http::header::AUTHORIZATION;
use http::{HeaderMap, StatusCode};
use rkube_http::Door;
use rkube_http::tokens::TokenFile;

/// The longest token that is looked at.
const LONGEST: usize = 16 * 1024;

/// Knows who somebody is.
#[derive(Debug)]
pub struct Identify {
    /// The file of static tokens, if there is one.
    pub file: Option<TokenFile>,
    /// Tokens of service accounts.
    pub accounts: ServiceAccounts,
    /// Tokens with which nodes join.
    pub bootstrap: Bootstrap,
}

impl Identify {
    /// Who it is; none where nothing is shown.
    ///
    /// # Errors
    /// 401 for a token or a certificate that is not good. The answer does not say why; the log does.
    pub async fn user(&self, door: &Door, headers: &HeaderMap) -> Result<Option<User>, ApiError> {
        let user = if let Some(header) = headers.get(AUTHORIZATION) {
            let token = header.to_str().ok().and_then(bearer);
            let token = token.ok_or_else(|| refused(door, "only bearer tokens are understood"))?;
            let found = self.token(token, &[]).await?;
            found
                .ok_or_else(|| refused(door, "nobody has this token"))?
                .user
        } else if let Some(certificate) = door.certificate() {
            let caller = certificate.caller(jiff::Timestamp::now());
            let caller = caller.map_err(|why| refused(door, &why))?;
            User {
                name: caller.name,
                groups: caller.groups,
                ..User::default()
            }
        } else if door.is_local() {
            User::master()
        } else {
            return Ok(None);
        };
        door.known();
        Ok(Some(known(user)))
    }

    /// Whose token it is. `audiences` are those a token must be for; the server's own where there are none.
    ///
    /// # Errors
    /// The store cannot be asked.
    pub async fn token(
        &self,
        token: &str,
        audiences: &[String],
    ) -> Result<Option<Owner>, ApiError> {
        if token.is_empty() || token.len() > LONGEST {
            return Ok(None);
        }
        let own = |user: User| Owner {
            user: known(user),
            audiences: Vec::new(),
        };
        if let Some(owner) = self.file.as_ref().and_then(|file| file.owner(token)) {
            return Ok(Some(own(User {
                name: owner.name,
                uid: owner.uid,
                groups: owner.groups.unwrap_or_default(),
                ..User::default()
            })));
        }
        if let Some(found) = self.accounts.owner(token, audiences).await? {
            let (user, audiences) = found;
            let user = known(user);
            return Ok(Some(Owner { user, audiences }));
        }
        Ok(self.bootstrap.owner(token).await?.map(own))
    }
}

/// Whose a token is, and which of the audiences that were asked for it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub user: User,
    /// Empty where the token says nothing of audiences.
    pub audiences: Vec<String>,
}

fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Everybody who is known is in this group.
fn known(mut user: User) -> User {
    if !user.groups.iter().any(|group| group == AUTHENTICATED) {
        user.groups.push(AUTHENTICATED.to_owned());
    }
    user
}

fn refused(door: &Door, why: &str) -> ApiError {
    tracing::debug!(%door, why, "not let in");
    unauthorized()
}

/// 401.
#[must_use]
pub fn unauthorized() -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized")
}

/// Root on this host, and those without a name on the port that asks for none.
#[must_use]
pub fn unsecured() -> User {
    User {
        name: "system:unsecured".to_owned(),
        groups: vec![MASTERS.to_owned(), AUTHENTICATED.to_owned()],
        ..User::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bearer_tokens() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("bearer  abc "), Some("abc"));
        for header in ["abc", "Basic abc", "Bearer", ""] {
            assert_eq!(bearer(header), None, "{header}");
        }
    }
}
