//! Why a request to the API server came to nothing, and whether it may have been carried out all the same.

use std::time::Duration;

use kube::client::AuthError;

use crate::error::Error;
use crate::mesh::{Answer, Denied};

/// The outcome of a request that brought no answer to work with. `what` is the request in the words of a Role.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    /// The caller lacks a right.
    #[error("not allowed to {grant}")]
    Forbidden {
        /// The right.
        grant: String,
        /// What the API server says.
        message: String,
    },
    /// There is no such object.
    #[error("cannot {what}: there is no such object")]
    Missing {
        /// The request.
        what: String,
    },
    /// Somebody else wrote meanwhile, or the name is taken.
    #[error("cannot {what}: it was changed meanwhile")]
    Conflict {
        /// The request.
        what: String,
        /// What the API server says.
        message: String,
    },
    /// The API server asks to come back later.
    #[error("cannot {what}: the API server is too busy")]
    Busy {
        /// The request.
        what: String,
        /// When to come back.
        after: Option<Duration>,
    },
    /// Any other no.
    #[error("cannot {what}: {message} ({code})")]
    Refused {
        /// The request.
        what: String,
        /// The HTTP status.
        code: u16,
        /// What the API server says.
        message: String,
    },
    /// The request was sent and may have been carried out.
    #[error("no clear answer to {what}: {why}")]
    Lost {
        /// The request.
        what: String,
        /// What happened.
        why: String,
    },
    /// The API server could not be reached, so nothing was carried out.
    #[error("cannot reach the API server: {why}")]
    Unreachable {
        /// What happened.
        why: String,
    },
    /// The answer is not what this kind of object looks like.
    #[error("cannot understand the answer to {what}: {why}")]
    Unreadable {
        /// The request.
        what: String,
        /// Where it stops making sense.
        why: String,
    },
}

impl Failure {
    /// What went wrong below HTTP.
    pub fn of_transport(what: &str, error: &kube::Error) -> Self {
        if let kube::Error::Api(status) = error {
            return match status.code {
                403 => Self::Forbidden { grant: what.to_owned(), message: status.message.clone() },
                404 => Self::Missing { what: what.to_owned() },
                code => Self::Refused { what: what.to_owned(), code, message: status.message.clone() },
            };
        }
        if let Some(message) = credentials(error) {
            return Self::Refused { what: what.to_owned(), code: 401, message };
        }
        let why = causes(error).last().map(ToString::to_string).unwrap_or_default();
        // hyper-util has no public way to ask through the layers above it whether it was the connecting that failed.
        if causes(error).any(|cause| cause.to_string() == "client error (Connect)") {
            return Self::Unreachable { why };
        }
        Self::Lost { what: what.to_owned(), why }
    }

    /// Whether the caller lacks a right.
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::Forbidden { .. })
    }

    /// The lacking right as data; every other failure is an error.
    pub fn denied(self, what: &str) -> Result<Denied, Error> {
        match self {
            Self::Forbidden { grant, .. } => Ok(Denied { what: what.to_owned(), grant }),
            other => Err(other.into()),
        }
    }

    /// What stands in the place of an answer.
    pub fn answer<T>(&self) -> Answer<T> {
        match self {
            Self::Forbidden { grant, .. } => Answer::Forbidden(grant.clone()),
            other => Answer::Unknown(other.to_string()),
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let error = Self::failed(failure.to_string());
        match failure {
            Failure::Forbidden { grant, message } => {
                let error = error.hint(format!("grant it in a Role or ClusterRole: {grant}"));
                if message.is_empty() { error } else { error.because(message) }
            }
            Failure::Refused { code: 401, .. } => {
                error.hint("the API server does not accept these credentials: renew them, or choose others with `--context` or `--kubeconfig`")
            }
            Failure::Unreachable { .. } => {
                error.hint("is the cluster up, and is this the right one? `--context NAME` chooses another")
            }
            Failure::Conflict { message, .. } if !message.is_empty() => error.because(message),
            _ => error,
        }
    }
}

/// Why there are no credentials to show, in words of our own: kube's repeat what an exec plugin wrote and was given,
/// which may be a token.
pub fn credentials(error: &kube::Error) -> Option<String> {
    let auth = causes(error).find_map(|cause| cause.downcast_ref::<AuthError>())?;
    Some(match auth {
        AuthError::AuthExecStart(why) => format!("the kubeconfig's exec plugin could not be started: {why}"),
        AuthError::AuthExecRun { out, .. } => format!("the kubeconfig's exec plugin failed: {}", out.status),
        AuthError::AuthExecParse(_) | AuthError::ExecPluginFailed => {
            "the kubeconfig's exec plugin answered with no ExecCredential".to_owned()
        }
        AuthError::ReadTokenFile(why, path) => format!("token file `{}` could not be read: {why}", path.display()),
        _ => "the credentials in the kubeconfig cannot be used".to_owned(),
    })
}

/// An error and its causes. The last one says what happened, the ones above say where.
fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |cause| cause.source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn what_an_exec_plugin_wrote_is_not_repeated() {
        use std::os::unix::process::ExitStatusExt as _;
        let status = std::process::ExitStatus::from_raw(1 << 8);
        let out = std::process::Output { status, stdout: b"hush".to_vec(), stderr: b"hush".to_vec() };
        let failed = AuthError::AuthExecRun { cmd: "TOKEN=hush plugin".to_owned(), out: Box::new(out) };
        for error in [kube::Error::Service(Box::new(failed)), kube::Error::Auth(AuthError::AuthExec("hush".to_owned()))]
        {
            let failure = Failure::of_transport("get secrets", &error);
            assert!(matches!(failure, Failure::Refused { code: 401, .. }));
            assert!(!failure.to_string().contains("hush"), "{failure}");
        }
    }
}
