//! A directory that changes as a kubelet changes a mounted Secret or `ConfigMap`.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use mtls::pki::{Issuer, TrustBundle};

/// Files by name.
pub type Files = BTreeMap<&'static str, String>;

/// The file that tells of roots.
pub fn anchors(bundle: &TrustBundle) -> Files {
    Files::from([("ca.crt", bundle.to_pem())])
}

/// The files that Sentry signs with.
pub fn signing(issuer: &Issuer) -> Files {
    Files::from([("issuer.crt", issuer.chain_pem()), ("issuer.key", issuer.key.to_pem().as_str().to_owned())])
}

pub struct Mount {
    path: PathBuf,
    files: Option<Files>,
    /// How often it was written, which names the directory that the files are in.
    writes: u32,
}

impl Mount {
    pub fn new(path: &Path) -> Self {
        fs::create_dir(path).expect("a new directory");
        Self { path: path.to_owned(), files: None, writes: 0 }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All files at once, in the steps of the kubelet's atomic writer
    /// (`kubernetes/pkg/volume/util/atomic_writer.go`): who watches sees an event for each. What is the same already is
    /// not written.
    pub fn write(&mut self, files: Files) {
        if self.files.as_ref() == Some(&files) {
            return;
        }
        self.try_write(&files).expect("the scratch directory can be written");
        self.files = Some(files);
    }

    fn try_write(&mut self, files: &Files) -> std::io::Result<()> {
        let directory = |write: u32| format!("..{write}");
        let fresh = self.path.join(directory(self.writes + 1));
        fs::create_dir(&fresh)?;
        fs::set_permissions(&fresh, Permissions::from_mode(0o755))?;
        files.iter().try_for_each(|(name, text)| fs::write(fresh.join(name), text))?;
        symlink(directory(self.writes + 1), self.path.join("..data_tmp"))?;
        fs::rename(self.path.join("..data_tmp"), self.path.join("..data"))?;
        let former = self.files.take().unwrap_or_default();
        for name in files.keys().filter(|name| !former.contains_key(*name)) {
            symlink(Path::new("..data").join(name), self.path.join(name))?;
        }
        for name in former.keys().filter(|name| !files.contains_key(*name)) {
            fs::remove_file(self.path.join(name))?;
        }
        if self.writes > 0 {
            fs::remove_dir_all(self.path.join(directory(self.writes)))?;
        }
        self.writes += 1;
        Ok(())
    }
}
