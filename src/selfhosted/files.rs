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

/// The three files as they are, each if it is there.
#[derive(Default)]
pub struct Files {
    trust: Option<Zeroizing<Vec<u8>>>,
    chain: Option<Zeroizing<Vec<u8>>>,
    key: Option<Zeroizing<Vec<u8>>>,
}

impl Files {
    /// Reads them.
    pub fn read(directory: &Path) -> Result<Self, Error> {
        let read = |name: &str| read(&directory.join(name));
        Ok(Self { trust: read(TRUST)?, chain: read(CHAIN)?, key: read(KEY)? })
    }

    fn named(&self) -> [(&'static str, Option<&[u8]>); 3] {
        [(TRUST, &self.trust), (CHAIN, &self.chain), (KEY, &self.key)]
            .map(|(name, bytes)| (name, bytes.as_ref().map(|bytes| bytes.as_slice())))
    }

    /// Errors if only some of them are there: Sentry invents a CA then. So does a run that was killed while it made a
    /// first CA, and only its record can tell.
    pub fn check(&self, directory: &Path) -> Result<(), Error> {
        match self.pair() {
            Pair::Unequal(missing) => {
                let error = Error::failed(format!("`{}` holds a part of a CA: {missing}", directory.display()));
                Err(error.hint("put the missing file back, or move the others away to begin with a new CA"))
            }
            _ => Ok(()),
        }
    }

    fn pair(&self) -> Pair {
        let missing: Vec<String> =
            self.named().iter().filter(|(_, bytes)| bytes.is_none()).map(|(name, _)| format!("`{name}`")).collect();
        match missing.len() {
            0 => Pair::Equal,
            3 => Pair::Absent,
            _ => Pair::Unequal(format!("{} is missing", missing.join(" and "))),
        }
    }

    /// Names these very bytes.
    pub fn version(&self) -> Version {
        let name = |bytes: Option<&[u8]>| bytes.map(|bytes| Fingerprint::of(bytes).to_string()).unwrap_or_default();
        Version(self.named().map(|(_, bytes)| name(bytes)).join("-"))
    }

    /// What Sentry reads from them.
    pub fn published(&self, directory: &Path) -> Published {
        let [(_, trust), (_, chain), (_, key)] = self.named();
        let place = |name: &str| directory.join(name).display().to_string();
        let trust = trust.map(read_as_go).unwrap_or_default();
        let chain = chain.map(read_chain_as_go).unwrap_or_default();
        let at = |name: &'static str| move |oddity| (place(name), oddity);
        let oddities = trust.oddities.into_iter().map(at(TRUST)).chain(chain.oddities.into_iter().map(at(CHAIN)));
        let (key, odd_key) = key.map(PrivateKey::read_as_go).unwrap_or_default();
        let oddities = oddities.chain(odd_key.into_iter().map(at(KEY))).collect();
        Published {
            mirror: trust.certificates.clone(),
            anchors: trust.certificates,
            chain: chain.certificates,
            key,
            pair: self.pair(),
            oddities,
            secret: self.version(),
            config_map: self.version(),
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
    let anew = format!("move `{}` away if the rotation it tells of is of no interest", path.display());
    let failed = || Error::failed(format!("the record `{}` cannot be read", path.display()));
    let Some(json) = read(&path)? else { return Ok(None) };
    let texts: BTreeMap<String, String> =
        serde_json::from_slice(&json).map_err(|why| failed().because(why).hint(anew.clone()))?;
    let data = texts.into_iter().map(|(key, text)| (key, Zeroizing::new(text.into_bytes()))).collect();
    Record::from_data(&data).map(Some).map_err(|why| {
        let hint = why.hint(anew);
        failed().because(why).hint(hint)
    })
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
