//! One run at a time: a file lock that the system gives back, however its holder ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::error::Error;
use crate::keep::make_directory;

/// The lock, held as long as this lives.
pub struct Lock(#[expect(dead_code, reason = "it is held for its lock alone")] File);

impl Lock {
    /// Takes the lock file in `own`, which is made with everything above it. Errors at once, and name the holder's
    /// process, if another run has it.
    pub fn take(own: &Path) -> Result<Self, Error> {
        make_directory(own)?;
        let path = own.join("lock");
        let failed = |why| Error::failed(format!("`{}` could not be locked", path.display())).because(why);
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                let holder = if holder.is_empty() { "unknown".to_owned() } else { holder };
                let error = Error::failed(format!("another mtls works on this directory (process {holder})"));
                return Err(error.hint("wait until it has finished, then run the command again"));
            }
            Err(TryLockError::Error(why)) => return Err(failed(why)),
        }
        let named = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| write!(file, "{}", std::process::id()));
        named.map_err(failed)?;
        Ok(Self(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_has_it() {
        let home = tempfile::tempdir().expect("a directory");
        let own = home.path().join("new/mtls-rotation");
        let first = Lock::take(&own).expect("nobody has it");
        let Err(refused) = Lock::take(&own) else { panic!("it is taken") };
        assert!(refused.to_string().contains(&std::process::id().to_string()), "{refused}");
        drop(first);
        Lock::take(&own).expect("it was given back");
    }
}
