//! The lake's checks: everything that the tasks do with objects, done to a probe below `_tmp/`.

use super::check::{Checks, Finding};
use crate::text;
use bytes::Bytes;
use invoices::lake::{Lake, Object};
use invoices::task::LakeArgs;
use invoices::{Error, Result};

/// Two contents of equal size: an ETag that were only a size would not tell them apart.
const CONTENTS: [&[u8]; 2] = [b"invoice platform probe 1", b"invoice platform probe 2"];

pub async fn check(args: &LakeArgs) -> Checks {
    let mut checks = Checks::new("lake");
    let Some(lake) = checks.value_or_fail("url", args.open()) else { return checks };
    checks.add("url", Finding::ok(lake.url()));
    let path = format!("_tmp/doctor-{}-{}", std::process::id(), nanoseconds());
    let first = lake.put(&path, Bytes::from_static(CONTENTS[0])).await;
    // Nothing else can succeed, and every further request would wait for its own time-out.
    let Some(first) = checks.value_or_fail("put", first) else { return checks };
    checks.add("put", Finding::ok(lake.locate(&path)));
    checks.attempt("get", get(&lake, &path).await);
    checks.attempt("etag", etag(&lake, &first).await);
    checks.attempt("list", list(&lake, &path).await);
    checks.attempt("delete", delete(&lake, &path).await);
    if lake.url().starts_with("s3") {
        let detail = "cannot be looked up from here: whether unfinished multipart uploads are removed";
        let advice = "give the bucket a lifecycle rule that aborts unfinished uploads after a day; killed runs leave some, unseen and paid for";
        checks.add("lifecycle", Finding { advice: Some(advice.to_owned()), ..Finding::ok(detail) });
    }
    checks
}

async fn get(lake: &Lake, path: &str) -> Result<Finding> {
    let found = lake.get(path).await?;
    Ok(match found {
        Some((_, bytes)) if bytes == CONTENTS[0] => Finding::ok("what was written is read back"),
        Some(_) => Finding::fail("an object just written reads differently", advice_on_consistency()),
        None => Finding::fail("an object just written is not found", advice_on_consistency()),
    })
}

fn advice_on_consistency() -> &'static str {
    "use a store with read-after-write consistency, and no caching proxy before it"
}

/// Commit records know objects by their ETags.
async fn etag(lake: &Lake, first: &Object) -> Result<Finding> {
    let second = lake.put(&first.path, Bytes::from_static(CONTENTS[1])).await?;
    let listed = lake.head(&first.path).await?;
    let advice = "use a store whose ETags change with the content, as S3 and MinIO do";
    Ok(if first.etag.is_empty() {
        Finding::fail("objects have no ETag", advice)
    } else if second.etag == first.etag {
        Finding::fail("the ETag stays the same when an object is replaced", advice)
    } else if listed.as_ref() != Some(&second) {
        Finding::fail("an object's ETag differs between two looks", advice)
    } else {
        Finding::ok("changes when an object is replaced")
    })
}

async fn list(lake: &Lake, path: &str) -> Result<Finding> {
    let listed = lake.list("_tmp").await?;
    if !listed.iter().any(|object| object.path == path) {
        return Ok(Finding::fail("a listing lacks an object just written", advice_on_consistency()));
    }
    let others: Vec<&Object> = listed.iter().filter(|object| object.path != path).collect();
    if others.is_empty() {
        return Ok(Finding::ok("lists what was written"));
    }
    let bytes = others.iter().map(|object| object.size).sum();
    Ok(Finding::warn(
        format!("_tmp/ also holds {} ({})", text::count(others.len(), "object"), text::size(bytes)),
        "leftovers of killed runs, which no reader sees; delete them when no task is running",
    ))
}

async fn delete(lake: &Lake, path: &str) -> Result<Finding> {
    lake.delete(path).await?;
    match lake.head(path).await? {
        None => Ok(Finding::ok("the probe is gone")),
        Some(_) => Err(Error::config(format!(
            "{} is still there after it was deleted; allow deletion, and no object lock in this bucket",
            lake.locate(path)
        ))),
    }
}

/// Two doctors at once must not delete each other's probe.
fn nanoseconds() -> u128 {
    std::time::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::{failure, tally};
    use crate::testing::Demo;

    #[tokio::test]
    async fn a_working_lake_passes_and_keeps_no_probe() {
        let demo = Demo::new();
        let checks = check(&demo.lake_args()).await.into_inner();
        assert_eq!(tally(&checks), [6, 0, 0], "{checks:?}");
        assert!(demo.lake.list("_tmp").await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn an_unknown_scheme_is_a_configuration_error() {
        let checks = check(&LakeArgs { lake: "ftp://somewhere".into() }).await.into_inner();
        assert_eq!(failure(&checks).unwrap().kind(), invoices::Kind::Config);
    }

    #[tokio::test]
    async fn leftovers_are_pointed_out() {
        let demo = Demo::new();
        demo.lake.put("_tmp/old/upload", Bytes::from_static(b"x")).await.unwrap();
        let checks = check(&demo.lake_args()).await.into_inner();
        assert_eq!(tally(&checks), [5, 1, 0], "{checks:?}");
    }
}
