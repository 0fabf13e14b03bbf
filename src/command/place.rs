//! Opens the place to work on: the cluster, or a directory.

use crate::cli::{Conduct, FenceArg, Global, RestartArgs};
use crate::error::Error;
use crate::kubernetes::{self, Applications, Kubernetes, Options, Writing};
use crate::mesh::{DISTRIBUTED, Observed};
use crate::rotation::{Mesh, Need, Record};
use crate::selfhosted::{Directory, Naming, default_directory};
use crate::ui::Ui;

/// The place to work on.
pub enum Place {
    /// A cluster.
    Kubernetes(Box<Kubernetes>),
    /// A directory of a self-hosted Dapr.
    Directory(Box<Directory>),
}

/// How a rotation behaves on the way: what the edges have to know of the flags.
#[derive(Clone, Debug)]
pub struct Renewing {
    /// Whether Sentry's right to write may be taken away meanwhile.
    pub fence: bool,
    /// How long to wait for a quiet Sentry.
    pub patience: jiff::SignedDuration,
    /// The trust domain of a first CA in a directory.
    pub trust_domain: Option<String>,
    /// The Secret that the file era's trust bundle is copied from.
    pub trust_source: String,
    /// Which applications are restarted.
    pub applications: Applications,
}

impl From<&Conduct> for Renewing {
    fn from(conduct: &Conduct) -> Self {
        let fence = conduct.fence == FenceArg::Auto;
        Self {
            fence,
            patience: conduct.timeout,
            trust_domain: None,
            trust_source: conduct.trust_source.clone(),
            applications: Applications::default(),
        }
    }
}

impl Renewing {
    /// For a restart, which writes what is published only to repair it.
    pub fn restarting(args: &RestartArgs) -> Self {
        let applications = Applications { namespaces: args.app_namespace.clone(), selector: args.selector.clone() };
        let trust_source = DISTRIBUTED.to_owned();
        Self { fence: true, patience: args.timeout, trust_domain: None, trust_source, applications }
    }
}

impl Place {
    /// Opens what the flags name. Reads only.
    pub async fn open(global: &Global, renewing: Option<Renewing>, ui: &Ui) -> Result<Self, Error> {
        if global.is_directory() {
            let path = match &global.certs_dir {
                Some(path) => path.clone(),
                None => default_directory().ok_or_else(|| {
                    Error::usage("the home directory is not known").hint("name the directory with `--certs-dir DIR`")
                })?,
            };
            let naming = Naming {
                trust_domain: renewing.and_then(|renewing| renewing.trust_domain),
                namespace: global.namespace.clone(),
            };
            return Ok(Self::Directory(Box::new(Directory::new(path, naming))));
        }
        let options = Options {
            kubeconfig: global.kubeconfig.clone(),
            context: global.context.clone(),
            namespace: global.namespace.clone(),
            as_user: global.as_user.clone(),
            as_groups: global.as_group.clone(),
            request_timeout: global.request_timeout,
        };
        let talk = ui.clone();
        let mut mesh = kubernetes::connect(&options).await?.detailing(move |level, line| talk.detail(level, line));
        if let Some(Renewing { fence, patience, trust_source, applications, .. }) = renewing {
            let talk = ui.clone();
            mesh = mesh.writing(Writing { fence, patience, trust_source }).telling(move |line| talk.say(line));
            mesh = mesh.of_applications(applications);
        }
        Ok(Self::Kubernetes(Box::new(mesh)))
    }

    /// Looks, and reads the record of the last rotation.
    pub async fn look(&mut self, need: &Need) -> Result<(Observed, Option<Record>), Error> {
        async fn look<M: Mesh>(mesh: &mut M, need: &Need) -> Result<(Observed, Option<Record>), Error> {
            Ok((mesh.observe(need).await?, mesh.load().await?))
        }
        match self {
            Self::Kubernetes(mesh) => Box::pin(look(&mut **mesh, need)).await,
            Self::Directory(mesh) => look(&mut **mesh, need).await,
        }
    }
}
