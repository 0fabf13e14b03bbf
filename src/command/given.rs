//! What the caller brings to a rotation, read from files once and checked as Sentry and every sidecar will.

use std::path::Path;

use zeroize::Zeroizing;

use crate::cli::{RenewArgs, RestartScope, StrategyArg};
use crate::error::Error;
use crate::mesh::Observed;
use crate::pki::{
    Certificate, Fingerprint, Issuer, KeyError, PemError, PrivateKey, Severity, TrustBundle, judge, parse_chain,
};
use crate::rotation::strategy::{Inputs, Request};
use crate::rotation::{Scope, Strategy, Trio};
use crate::ui::Ui;

/// Reads the files that the arguments name. Errors name the file, what is wrong and the way out.
pub fn request(args: &RenewArgs) -> Result<Request, Error> {
    let inputs = inputs(args)?;
    Ok(Request {
        window: args.if_expires_within.unwrap_or_default(),
        digest: digest_of(args, &inputs),
        inputs,
        strategy: match args.strategy {
            StrategyArg::Auto => None,
            StrategyArg::Issuer => Some(Strategy::Issuer),
            StrategyArg::SameKey => Some(Strategy::SameKey),
            StrategyArg::Bridge => Some(Strategy::Bridge),
            StrategyArg::Append => Some(Strategy::Append),
            StrategyArg::Replace => Some(Strategy::Replace),
        },
        valid_for: args.valid_until,
        restart: match args.restart {
            Some(RestartScope::ControlPlane) => Some(Scope::ControlPlane),
            Some(RestartScope::Stale) => Some(Scope::Stale),
            Some(RestartScope::All) => Some(Scope::All),
            Some(RestartScope::Off) | None => None,
        },
        timeout: args.conduct.timeout,
    })
}

fn inputs(args: &RenewArgs) -> Result<Inputs, Error> {
    let (Some(root), Some(chain), Some(key)) =
        (&args.ca_root_certificate, &args.issuer_public_certificate, &args.issuer_private_key)
    else {
        return Ok(match &args.private_key {
            Some(file) => Inputs::Key(read_key(file)?),
            None => Inputs::Fresh,
        });
    };
    let no_pem = |file: &Path, why: PemError| {
        let hint = why.hint();
        refused(file, why, hint)
    };
    let trust = TrustBundle::parse(&read(root)?).map_err(|why| no_pem(root, why))?;
    let parsed = parse_chain(&read(chain)?).map_err(|why| no_pem(chain, why))?;
    if parsed.first().is_some_and(Certificate::self_signed) {
        return Err(Error::usage(format!("`{}` is a root that is its own issuer", chain.display()))
            .hint("make an issuer under it, or give the root's key alone with `--private-key`"));
    }
    let key = read_key(key)?;
    Ok(Inputs::Given(Trio { trust, issuer: Issuer { chain: parsed, key } }))
}

fn read(file: &Path) -> Result<Zeroizing<Vec<u8>>, Error> {
    std::fs::read(file)
        .map(Zeroizing::new)
        .map_err(|why| Error::usage(format!("`{}` cannot be read", file.display())).because(why))
}

fn read_key(file: &Path) -> Result<PrivateKey, Error> {
    PrivateKey::parse(&read(file)?).map_err(|why: KeyError| {
        let hint = why.hint();
        refused(file, why, hint)
    })
}

fn refused(file: &Path, why: impl std::error::Error + Send + Sync + 'static, hint: &str) -> Error {
    Error::usage(format!("`{}` cannot be used", file.display())).because(why).hint(hint)
}

/// Judges given certificates by this mesh: its trust domain, its Dapr, its clock. Errors list each problem with its
/// way out; nothing has been changed by then.
pub fn judge_given(request: &Request, seen: &Observed, ui: &Ui) -> Result<(), Error> {
    let Inputs::Given(trio) = &request.inputs else {
        return Ok(());
    };
    let judged = judge(
        trio.trust.anchors(),
        &trio.issuer.chain,
        Some(&trio.issuer.key),
        &seen.identity.signing(),
        seen.now,
        seen.now + seen.settings.workload_cert_ttl,
    );
    let (problems, warnings): (Vec<_>, Vec<_>) =
        judged.problems.iter().partition(|problem| problem.severity == Severity::Fatal);
    for warning in warnings {
        ui.warn(&format!("the given certificates: {}", warning.what));
        ui.hint(&warning.hint);
    }
    if problems.is_empty() {
        return Ok(());
    }
    let what: Vec<&str> = problems.iter().map(|problem| problem.what.as_str()).collect();
    let error = Error::usage(format!("the given certificates would not work: {}", what.join("; ")));
    Err(problems.iter().fold(error, |error, problem| error.hint(problem.hint.as_str())))
}

/// The same for the same inputs (strategy, validity, certificates, public half of keys), whatever the flags of conduct.
fn digest_of(args: &RenewArgs, inputs: &Inputs) -> String {
    let mut names: Vec<Fingerprint> = Vec::new();
    match inputs {
        Inputs::Fresh => {}
        Inputs::Key(key) => names.push(key.public_fingerprint()),
        Inputs::Given(trio) => {
            names.extend(trio.trust.fingerprints());
            names.extend(trio.issuer.chain.iter().map(Certificate::fingerprint));
            names.push(trio.issuer.key.public_fingerprint());
        }
    }
    let text = format!("{:?} {} {names:?}", args.strategy, args.valid_until.as_secs());
    Fingerprint::of(text.as_bytes()).to_string()
}
