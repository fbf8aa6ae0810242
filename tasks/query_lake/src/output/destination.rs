//! Where an answer goes: stdout, a local file that appears whole, or an object.

use bytes::Bytes;
use invoices::lake::Lake;
use invoices::{Error, Result};
use std::fs::{File, Permissions};
use std::io::{Read, Seek};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

const CHUNK_BYTES: usize = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    Stdout,
    File(PathBuf),
    Bucket { root: String, path: String },
}

impl Destination {
    /// # Errors
    /// Usage for a URL that is neither.
    pub fn parse(output: Option<&str>) -> Result<Self> {
        let Some(text) = output else { return Ok(Self::Stdout) };
        if let Some((bucket, path)) = text.strip_prefix("s3://").and_then(|rest| rest.split_once('/'))
            && !bucket.is_empty()
            && !path.is_empty()
        {
            return Ok(Self::Bucket { root: format!("s3://{bucket}"), path: path.to_owned() });
        }
        let path = text.strip_prefix("file://").unwrap_or(text);
        if path.contains("://") || path.is_empty() || path.ends_with('/') {
            return Err(Error::usage(format!(
                "--output {text} is not a place that results can be written to; use s3://bucket/object, file:///path or a path"
            )));
        }
        Ok(Self::File(PathBuf::from(path)))
    }

    /// A file to write to; a local answer's is beside its place, so that it can be renamed.
    pub fn scratch(&self) -> Result<NamedTempFile> {
        let made = match self {
            // An answer is as readable as any new file, where a scratch file is its owner's alone.
            Self::File(path) => {
                tempfile::Builder::new().permissions(Permissions::from_mode(0o666)).tempfile_in(folder(path))
            }
            _ => NamedTempFile::new(),
        };
        made.map_err(|error| {
            let place = match self {
                Self::File(path) => folder(path).to_owned(),
                _ => std::env::temp_dir(),
            };
            Error::config(format!("cannot write to the folder {}", place.display())).because(error)
        })
    }

    /// Makes what was written the output.
    pub fn publish(&self, written: NamedTempFile, runtime: &tokio::runtime::Handle) -> Result<()> {
        match self {
            Self::Stdout => {
                let mut file = reopened(&written)?;
                let copied = std::io::copy(&mut file, &mut std::io::stdout().lock());
                match copied {
                    // Whoever reads has seen enough, as `head` does.
                    Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
                    other => other.map(|_| ()).map_err(Error::from),
                }
            }
            Self::File(path) => written.persist(path).map(|_| ()).map_err(|error| {
                Error::config(format!("cannot write {}", path.display())).because(error.error)
            }),
            Self::Bucket { root, path } => {
                let store = Lake::open(root).map_err(|error| {
                    Error::new(error.kind(), error.to_string().replace("LAKE_URL", "--output"))
                })?;
                runtime.block_on(upload(&store, path, reopened(&written)?))
            }
        }
    }
}

async fn upload(store: &Lake, path: &str, mut file: File) -> Result<()> {
    let mut upload = store.upload(path).await?;
    loop {
        let mut chunk = vec![0; CHUNK_BYTES];
        let count = file.read(&mut chunk)?;
        if count == 0 {
            upload.finish().await?;
            return Ok(());
        }
        chunk.truncate(count);
        if let Err(error) = upload.write(Bytes::from(chunk)).await {
            upload.abort().await;
            return Err(error);
        }
    }
}

fn reopened(written: &NamedTempFile) -> Result<File> {
    let mut file = written.reopen()?;
    file.rewind()?;
    Ok(file)
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_apart() {
        let bucket = Destination::Bucket { root: "s3://b".to_owned(), path: "a/c.csv".to_owned() };
        assert_eq!(Destination::parse(Some("s3://b/a/c.csv")).unwrap(), bucket);
        assert_eq!(Destination::parse(Some("file:///a.csv")).unwrap(), Destination::File("/a.csv".into()));
        for text in ["s3://b", "http://x/y", "/folder/", ""] {
            assert!(Destination::parse(Some(text)).is_err(), "{text}");
        }
    }
}
