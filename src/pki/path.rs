//! A chain verified as Go 1.26 does it (`crypto/x509/verify.go`): what Dapr accepts is what Go accepts.
//!
//! Go looks for paths depth first, anchors before intermediates, and gives up at 100 signatures; an anchor's dates, path length and constraints
//! count like those of any other certificate. Two things are stricter here: a chain that constrains policies, and signatures that no
//! library here can check (P-224, uncommon sizes of RSA) are refused.

use jiff::Timestamp;

use super::name_constraints::Names;
use super::shown::{Leaf, Shown};
use super::{Certificate, Refusal, SignatureError};

/// Go's `maxChainSignatureChecks`.
const MAX_SIGNATURES: usize = 100;

/// Who asks, and therefore for which extended key usages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Profile {
    /// Sidecars and control plane among each other, by go-spiffe: any usage, and the leaf must be an SVID.
    Spiffe,
    /// The API server calling a webhook: `serverAuth`.
    Webhook,
    /// Schedulers' embedded etcd among each other: `serverAuth` and `clientAuth`.
    EtcdPeer,
}

/// Verifies at the moment `at`. Says until when it stays so: the latest moment up to which some path that is valid now remains valid, the earliest
/// of these for several leaves.
pub fn verify(
    shown: Shown<'_>,
    chain: &[Certificate],
    anchors: &[Certificate],
    profile: Profile,
    at: Timestamp,
) -> Result<Timestamp, Refusal> {
    let leaf = Leaf::of(shown, chain)?;
    if profile == Profile::Spiffe {
        leaf.check_svid()?;
    }
    if let Some(certificate) = leaf.certificate {
        check_certificate(certificate, at)?;
    }
    let mut search = Search {
        roots: unique(anchors),
        intermediates: unique(chain),
        at,
        checks: 0,
        found: Vec::new(),
        reason: Reason(None),
    };
    if leaf.certificate.is_some_and(|certificate| anchors.contains(certificate)) {
        search.found.push(Vec::new());
    } else {
        search.extend(&leaf, &mut Vec::new());
    }
    let Search { found, reason, .. } = search;
    let mut until = Timestamp::MAX;
    for (usage, names) in profile.usages().iter().flat_map(|usage| leaf.names.iter().map(move |names| (usage, names))) {
        let (mut best, mut reason) = (None, reason.clone());
        for path in &found {
            match check_path(&leaf, *names, path, *usage) {
                Ok(()) => best = best.max(Some(leaf.until(path))),
                Err(refusal) => reason.note(path.len(), refusal),
            }
        }
        until = until.min(best.ok_or_else(|| reason.take())?);
    }
    Ok(until)
}

/// What an extended key usage is checked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Usage {
    Any,
    Server,
    Client,
}

impl Profile {
    /// Each must be allowed by some path.
    fn usages(self) -> &'static [Usage] {
        match self {
            Self::Spiffe => &[Usage::Any],
            Self::Webhook => &[Usage::Server],
            Self::EtcdPeer => &[Usage::Server, Usage::Client],
        }
    }
}

/// Go's `buildChains`. A path is the certificates above the leaf, anchor last.
struct Search<'a> {
    roots: Vec<&'a Certificate>,
    intermediates: Vec<&'a Certificate>,
    at: Timestamp,
    checks: usize,
    found: Vec<Vec<&'a Certificate>>,
    reason: Reason,
}

impl<'a> Search<'a> {
    fn extend(&mut self, leaf: &Leaf<'a>, path: &mut Vec<&'a Certificate>) {
        let child = path.last().copied();
        let mut namesake = None;
        let mut parents = 0;
        for is_root in [true, false] {
            let pool = if is_root { &self.roots } else { &self.intermediates };
            for parent in possible_parents(pool, leaf, child) {
                self.checks += 1;
                if self.checks > MAX_SIGNATURES {
                    return self.reason.note(path.len(), Refusal::TooManySignatures);
                }
                if in_path_already(parent, leaf, path) {
                    continue;
                }
                match child
                    .map_or_else(|| leaf.check_signature_from(parent), |child| child.check_signature_from(parent))
                {
                    Ok(()) => parents += 1,
                    Err(SignatureError::Mismatch) => {
                        namesake.get_or_insert_with(|| parent.clone());
                        continue;
                    }
                    Err(why) => {
                        parents += 1;
                        self.reason.note(path.len(), Refusal::Signer { by: parent.clone(), why });
                        continue;
                    }
                }
                if let Err(refusal) = check_parent(parent, is_root, path.len(), self.at) {
                    self.reason.note(path.len(), refusal);
                    continue;
                }
                path.push(parent);
                if is_root {
                    self.found.push(path.clone());
                } else {
                    self.extend(leaf, path);
                }
                path.pop();
                if self.checks > MAX_SIGNATURES {
                    return;
                }
            }
        }
        if parents == 0 {
            let of = child.or(leaf.certificate).cloned();
            self.reason.note(path.len(), Refusal::UnknownAuthority { of, namesake });
        }
    }
}

/// The reason that is worth telling: the one nearest to success, of equals the one of the longer path.
#[derive(Clone)]
struct Reason(Option<(u8, usize, Refusal)>);

impl Reason {
    fn note(&mut self, depth: usize, refusal: Refusal) {
        let rank = refusal.rank();
        if self.0.as_ref().is_none_or(|(best, deepest, _)| (*best, *deepest) < (rank, depth)) {
            self.0 = Some((rank, depth, refusal));
        }
    }

    fn take(&mut self) -> Refusal {
        self.0.take().map_or(Refusal::UnknownAuthority { of: None, namesake: None }, |(_, _, refusal)| refusal)
    }
}

/// Go's `CertPool` takes each certificate once.
fn unique(certificates: &[Certificate]) -> Vec<&Certificate> {
    let mut pool: Vec<&Certificate> = Vec::with_capacity(certificates.len());
    for certificate in certificates {
        if !pool.contains(&certificate) {
            pool.push(certificate);
        }
    }
    pool
}

/// Go's `findPotentialParents`: by name, those first whose key identifier matches. The order decides which are tried before Go gives up.
fn possible_parents<'a>(
    pool: &[&'a Certificate],
    leaf: &Leaf<'_>,
    child: Option<&Certificate>,
) -> Vec<&'a Certificate> {
    let name = child.map_or(leaf.issuer_der, Certificate::issuer_der);
    let wanted = child.map_or(leaf.authority_key_id, Certificate::authority_key_id).unwrap_or_default();
    let mut parents: Vec<_> = pool.iter().copied().filter(|candidate| candidate.subject_der() == name).collect();
    parents.sort_by_key(|candidate| {
        let id = candidate.subject_key_id().unwrap_or_default();
        if id == wanted { 0 } else { 1 + u8::from(!id.is_empty() && !wanted.is_empty()) }
    });
    parents
}

/// Go's `alreadyInChain`: the same Subject, key and alternative names stop loops between cross certificates.
fn in_path_already(candidate: &Certificate, leaf: &Leaf<'_>, path: &[&Certificate]) -> bool {
    let names = |certificate: &Certificate| certificate.extensions().alternative_names.clone();
    for other in leaf.certificate.into_iter().chain(path.iter().copied()) {
        if candidate.subject_der() != other.subject_der() || candidate.spki_der() != other.spki_der() {
            continue;
        }
        match (names(candidate), names(other)) {
            (None, None) => return true,
            (Some(one), Some(two)) if one == two => return true,
            (Some(_), Some(_)) => {}
            _ => return false,
        }
    }
    false
}

/// Go's `isValid` for a signer with `below` certificates between it and the leaf.
fn check_parent(parent: &Certificate, is_root: bool, below: usize, at: Timestamp) -> Result<(), Refusal> {
    check_certificate(parent, at)?;
    if !is_root && parent.extensions().basic_constraints.is_none() {
        return Err(Refusal::NotACa(parent.clone()));
    }
    match parent.path_length() {
        Some(allowed) if usize::try_from(allowed).is_ok_and(|allowed| below > allowed) => {
            Err(Refusal::PathLength { of: parent.clone(), allowed, needed: below })
        }
        _ => Ok(()),
    }
}

fn check_certificate(certificate: &Certificate, at: Timestamp) -> Result<(), Refusal> {
    if let Some(oid) = certificate.extensions().unhandled.first() {
        return Err(Refusal::CriticalExtension { of: certificate.clone(), oid: oid.clone() });
    }
    if at < certificate.not_before() {
        return Err(Refusal::NotYetValid(certificate.clone()));
    }
    if certificate.is_expired(at) {
        return Err(Refusal::Expired(certificate.clone()));
    }
    Ok(())
}

/// What Go checks of a whole path: policies, extended key usages, name constraints.
fn check_path(leaf: &Leaf<'_>, names: Option<Names<'_>>, path: &[&Certificate], usage: Usage) -> Result<(), Refusal> {
    check_policies(leaf, path)?;
    check_usage(leaf, path, usage)?;
    check_constraints(names, path)
}

/// Without a `requireExplicitPolicy` or a mapping of any policy below the anchor every path is fine (RFC 9618); with one, this refuses where Go would
/// evaluate.
fn check_policies(leaf: &Leaf<'_>, path: &[&Certificate]) -> Result<(), Refusal> {
    let below_anchor = path.split_last().map_or(&[][..], |(_, below)| below);
    let mut asked = leaf.certificate.filter(|_| !path.is_empty()).into_iter().chain(below_anchor.iter().copied());
    asked
        .find(|certificate| certificate.extensions().constrains_policies)
        .map_or(Ok(()), |of| Err(Refusal::Policies(of.clone())))
}

/// Go's `checkChainForKeyUsage`: each certificate that lists usages must list the one wanted, or any.
fn check_usage(leaf: &Leaf<'_>, path: &[&Certificate], usage: Usage) -> Result<(), Refusal> {
    let (wanted, allows): (_, fn(&Certificate) -> bool) = match usage {
        Usage::Any => return Ok(()),
        Usage::Server => {
            ("server", |c| c.extensions().extended_key_usage.is_none_or(|usage| usage.any || usage.server))
        }
        Usage::Client => {
            ("client", |c| c.extensions().extended_key_usage.is_none_or(|usage| usage.any || usage.client))
        }
    };
    if let Some(of) = path.iter().rev().find(|certificate| !allows(certificate)) {
        return Err(Refusal::KeyUsage { of: Some((*of).clone()), wanted });
    }
    match leaf.certificate {
        Some(certificate) if !allows(certificate) => Err(Refusal::KeyUsage { of: None, wanted }),
        _ => Ok(()),
    }
}

/// Go's `checkChainConstraints`: each certificate's constraints hold for the alternative names of all below it, intermediates included.
fn check_constraints(leaf: Option<Names<'_>>, path: &[&Certificate]) -> Result<(), Refusal> {
    for (index, by) in path.iter().enumerate() {
        let Some(constraints) = &by.extensions().constraints else {
            continue;
        };
        let below = path[..index].iter().filter_map(|certificate| Names::of(certificate.extensions()));
        for names in leaf.into_iter().chain(below) {
            constraints.check(&names).map_err(|why| Refusal::NameConstraint { of: (*by).clone(), why })?;
        }
    }
    Ok(())
}
