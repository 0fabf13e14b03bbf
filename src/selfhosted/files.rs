//! The files of a self-hosted CA, and of the record beside them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use zeroize::Zeroizing;

use crate::error::Error;
use crate::keep::{Staged, TEMPORARY};
use crate::mesh::{Pair, Published, Version};
use crate::pki::{Fingerprint, Issuer, PrivateKey, TrustBundle, read_as_go, read_chain_as_go};
use crate::rotation::Record;

const TRUST: &str = "ca.crt";
const CHAIN: &str = "issuer.crt";
const KEY: &str = "issuer.key";
const RECORD: &str = "record.json";

/// The three files as they are.
pub struct Trio {
    trust: Vec<u8>,
    chain: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

impl Trio {
    /// Reads them; `None` if none is there. Errors if only some are, which makes Sentry invent a CA.
    pub fn read(directory: &Path) -> Result<Option<Self>, Error> {
        let read = [TRUST, CHAIN, KEY].map(|name| (name, read(&directory.join(name))));
        let mut found = Vec::new();
        let mut missing = Vec::new();
        for (name, bytes) in read {
            match bytes? {
                Some(bytes) => found.push(bytes),
                None => missing.push(format!("`{name}`")),
            }
        }
        match <[Zeroizing<Vec<u8>>; 3]>::try_from(found) {
            Ok([mut trust, mut chain, key]) => {
                Ok(Some(Self { trust: std::mem::take(&mut *trust), chain: std::mem::take(&mut *chain), key }))
            }
            Err(none) if none.is_empty() => Ok(None),
            Err(_) => {
                let (place, missing) = (directory.display(), missing.join(" and "));
                let error = Error::failed(format!("`{place}` holds a part of a CA: {missing} is missing"));
                Err(error.hint("put the missing file back, or move the others away to begin with a new CA"))
            }
        }
    }

    /// Names these very bytes.
    pub fn version(&self) -> Version {
        let parts = [&self.trust, &self.chain, &*self.key].map(|bytes| Fingerprint::of(bytes).to_string());
        Version(parts.join("-"))
    }

    /// What Sentry reads from them.
    pub fn published(&self, directory: &Path) -> Published {
        let place = |name: &str| directory.join(name).display().to_string();
        let trust = read_as_go(&self.trust);
        let chain = read_chain_as_go(&self.chain);
        let at = |name: &'static str| move |oddity| (place(name), oddity);
        let oddities = trust.oddities.into_iter().map(at(TRUST)).chain(chain.oddities.into_iter().map(at(CHAIN)));
        let oddities = oddities.collect();
        let version = self.version();
        Published {
            mirror: trust.certificates.clone(),
            anchors: trust.certificates,
            chain: chain.certificates,
            key: PrivateKey::parse(&self.key).ok(),
            pair: Pair::Equal,
            oddities,
            secret: version.clone(),
            config_map: version,
            ..Published::default()
        }
    }
}

/// Writes what is given, `ca.crt` first. Everything is on disk under other names before the first old file goes.
pub fn publish(
    directory: &Path,
    own: &Path,
    trust: Option<&TrustBundle>,
    issuer: Option<&Issuer>,
) -> Result<(), Error> {
    let mut staged = Staged::default();
    if let Some(trust) = trust {
        staged.add(own, &directory.join(TRUST), trust.to_pem().as_bytes())?;
    }
    if let Some(issuer) = issuer {
        staged.add(own, &directory.join(CHAIN), issuer.chain_pem().as_bytes())?;
        staged.add(own, &directory.join(KEY), issuer.key.to_pem().as_bytes())?;
    }
    staged.commit()
}

/// Removes temporary files of a run that was killed. Only under the lock.
pub fn remove_leftovers(own: &Path) -> Result<(), Error> {
    let failed = |why| Error::failed(format!("`{}` could not be tidied up", own.display())).because(why);
    for entry in fs::read_dir(own).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            fs::remove_file(entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}

/// Keeps the record: one file, so that it is whole or not there.
pub fn save(own: &Path, record: &Record) -> Result<(), Error> {
    let data = record.to_data();
    let texts: BTreeMap<&str, &str> =
        data.iter().filter_map(|(key, bytes)| Some((key.as_str(), std::str::from_utf8(bytes).ok()?))).collect();
    // Why: a buffer that grows leaves copies of the keys behind.
    let size: usize = data.values().map(|bytes| 2 * bytes.len() + 64).sum();
    let mut json = Zeroizing::new(Vec::with_capacity(size));
    serde_json::to_writer_pretty(&mut *json, &texts)
        .map_err(|why| Error::failed("the record could not be encoded").because(why))?;
    let mut staged = Staged::default();
    staged.add(own, &own.join(RECORD), &json)?;
    staged.commit()
}

/// Reads the record back, if there is one.
pub fn load(own: &Path) -> Result<Option<Record>, Error> {
    let path = own.join(RECORD);
    let failed = || {
        let hint = format!("move `{}` away if the rotation it tells of is of no interest", path.display());
        Error::failed(format!("the record `{}` cannot be read", path.display())).hint(hint)
    };
    let Some(json) = read(&path)? else { return Ok(None) };
    let texts: BTreeMap<String, String> = serde_json::from_slice(&json).map_err(|why| failed().because(why))?;
    let data = texts.into_iter().map(|(key, text)| (key, Zeroizing::new(text.into_bytes()))).collect();
    Record::from_data(&data).map(Some).map_err(|why| failed().because(why))
}

/// Reads a file that is no symbolic link; `None` if it is not there.
fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
    let failed = |why: io::Error| Error::failed(format!("`{}` could not be read", path.display())).because(why);
    match fs::symlink_metadata(path) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(failed(why)),
        Ok(found) if found.is_symlink() => {
            let error = Error::failed(format!("`{}` is a symbolic link", path.display()));
            return Err(error.hint("name the directory that it leads to, or put the file itself there"));
        }
        Ok(_) => {}
    }
    fs::read(path).map(|bytes| Some(Zeroizing::new(bytes))).map_err(failed)
}
