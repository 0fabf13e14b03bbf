//! How a self-hosted mesh is called, read from the names in its certificates.

use super::Naming;
use crate::error::Error;
use crate::mesh::Published;

/// The names that a self-hosted Sentry goes by.
pub struct Named {
    /// Its trust domain.
    pub trust_domain: String,
    /// Its namespace.
    pub namespace: String,
}

/// Reads the names from the issuer (`O=spiffe://<trust domain>/ns/<namespace>/dapr-sentry`), else from a root
/// (`O=<trust domain>`), as `dapr/pkg/sentry/server/ca/bundle` writes them; without a CA they are what is asked for.
/// Errors if a CA is there and another trust domain is asked for.
pub fn of(published: &Published, naming: &Naming) -> Result<Named, Error> {
    let from_issuer = published.chain.first().and_then(|issuer| spiffe(issuer.subject()));
    let from_root = || published.anchors.iter().find_map(|root| organisation(root.subject()));
    let (domain, namespace) = match from_issuer {
        Some((domain, namespace)) => (Some(domain), Some(namespace)),
        None => (from_root(), None),
    };
    if let (Some(live), Some(wanted)) = (&domain, &naming.trust_domain)
        && live != wanted
    {
        let error = Error::usage(format!("the CA in this directory is that of trust domain `{live}`, not `{wanted}`"));
        return Err(error.hint("a trust domain is chosen once, for the first CA; leave `--trust-domain` out"));
    }
    let or = |found: Option<String>, wanted: &Option<String>, usual: &str| {
        found.or_else(|| wanted.clone()).unwrap_or_else(|| usual.to_owned())
    };
    Ok(Named {
        trust_domain: or(domain, &naming.trust_domain, "cluster.local"),
        namespace: or(namespace, &naming.namespace, "default"),
    })
}

fn spiffe(subject: &str) -> Option<(String, String)> {
    let (_, path) = subject.split_once("spiffe://")?;
    let mut parts = path.split('/');
    let (domain, ns, namespace) = (parts.next()?, parts.next()?, parts.next()?);
    (ns == "ns" && is_name(domain) && is_name(namespace)).then(|| (domain.to_owned(), namespace.to_owned()))
}

fn organisation(subject: &str) -> Option<String> {
    let (_, rest) = subject.split_once("O=")?;
    let name = rest.split([',', '+']).next()?.trim();
    is_name(name).then(|| name.to_owned())
}

/// What may stand in a trust domain (SPIFFE ID §2.1).
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_subjects() {
        let issuer = "O=spiffe://example.org/ns/dapr-system/dapr-sentry";
        assert_eq!(spiffe(issuer), Some(("example.org".to_owned(), "dapr-system".to_owned())));
        assert_eq!(spiffe("CN=my issuer"), None);
        assert_eq!(organisation("O=example.org, CN=root 17"), Some("example.org".to_owned()));
        assert_eq!(organisation("O=dapr.io/sentry, CN=cluster.local"), None, "no trust domain has a slash");
    }

    #[test]
    fn without_a_ca_the_names_are_what_is_asked_for() {
        let named = of(&Published::default(), &Naming::default()).expect("nothing contradicts");
        assert_eq!((named.trust_domain.as_str(), named.namespace.as_str()), ("cluster.local", "default"));
        let wanted = Naming { trust_domain: Some("example.org".to_owned()), namespace: None };
        assert_eq!(of(&Published::default(), &wanted).expect("nothing contradicts").trust_domain, "example.org");
    }
}
