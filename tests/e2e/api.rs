//! Reads from the API server over one connection that is kept: a process for each of thousands of reads takes minutes.

use std::path::Path;

use http::Request;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::runtime::{Builder, Runtime};

/// A connection as an administrator.
pub struct Api {
    runtime: Runtime,
    client: Client,
}

impl Api {
    /// Connects as this kubeconfig says, with its current context where none is named.
    pub fn open(kubeconfig: &Path, context: Option<String>) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime starts");
        let client = runtime.block_on(async {
            let read = Kubeconfig::read_from(kubeconfig).expect("there is a kubeconfig");
            let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
            let config = Config::from_custom_kubeconfig(read, &options).await.expect("it names a cluster");
            Client::try_from(config).expect("a client can be made")
        });
        Self { runtime, client }
    }

    /// What is at a path.
    pub fn read(&self, path: &str) -> Result<String, String> {
        let request = Request::get(path).body(Vec::new()).expect("a path makes a request");
        self.runtime.block_on(self.client.request_text(request)).map_err(|why| why.to_string())
    }
}
