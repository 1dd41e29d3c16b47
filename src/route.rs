//! Routes: from a method and a path to what is asked for (distribution-spec, "API").
//!
//! Names contain slashes, so a path is read from its end. Parsing is pure and takes any input.

use http::Method;
use percent_encoding::percent_decode_str;

/// What a request asks for. Names, references and digests are as they came, to be checked by whoever answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `/v2/`: is this a registry?
    Base,
    /// `/v2/<name>/manifests/<tag or digest>`
    Manifest {
        /// The repository.
        name: String,
        /// A tag or a digest.
        reference: String,
    },
    /// `/v2/<name>/blobs/<digest>`
    Blob {
        /// The digest.
        digest: String,
    },
    /// `/v2/<name>/tags/list`
    Tags {
        /// The repository.
        name: String,
    },
    /// `/v2/<name>/referrers/<digest>`
    Referrers {
        /// The digest.
        digest: String,
    },
    /// `/v2/_catalog`, an extension that lists repositories.
    Catalog,
    /// What only somebody who pushes or deletes asks for.
    Push,
    /// `/`, for people.
    Page,
    /// `/healthz`, for load balancers.
    Health,
    /// `/objects/…`, the file store's own URLs.
    Object,
    /// A known place, asked with a method that it does not have.
    Method,
    /// Anything else.
    Unknown,
}

impl Route {
    /// Reads a request line. The query plays no part: containerd's mirrors add one.
    #[must_use]
    pub fn parse(method: &Method, path: &str) -> Self {
        let Ok(path) = percent_decode_str(path).decode_utf8() else {
            return Self::Unknown;
        };
        let route = Self::of(&path);
        let reads = method == Method::GET || method == Method::HEAD;
        match route {
            Self::Unknown | Self::Push | Self::Object => route,
            Self::Manifest { .. } | Self::Blob { .. } if writes(method) => Self::Push,
            _ if reads => route,
            _ => Self::Method,
        }
    }

    fn of(path: &str) -> Self {
        match path {
            "/" | "" => return Self::Page,
            "/healthz" => return Self::Health,
            "/v2" | "/v2/" => return Self::Base,
            "/v2/_catalog" => return Self::Catalog,
            _ => {}
        }
        if path.starts_with(crate::store::PREFIX) {
            return Self::Object;
        }
        let Some(path) = path.strip_prefix("/v2/") else {
            return Self::Unknown;
        };
        if path.ends_with("/blobs/uploads") || path.contains("/blobs/uploads/") {
            return Self::Push;
        }
        let mut ends = path.rsplitn(3, '/');
        let (Some(last), Some(kind), Some(name)) = (ends.next(), ends.next(), ends.next()) else {
            return Self::Unknown;
        };
        let (name, last) = (name.to_owned(), last.to_owned());
        match kind {
            "manifests" => Self::Manifest {
                name,
                reference: last,
            },
            "blobs" => Self::Blob { digest: last },
            "tags" if last == "list" => Self::Tags { name },
            "referrers" => Self::Referrers { digest: last },
            _ => Self::Unknown,
        }
    }
}

fn writes(method: &Method) -> bool {
    [Method::PUT, Method::POST, Method::PATCH, Method::DELETE].contains(method)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn get(path: &str) -> Route {
        Route::parse(&Method::GET, path)
    }

    /// Fault 7 of the predecessor: routes were matched on the raw request, with its query and its escapes.
    #[test]
    fn paths_are_read_from_their_end() {
        let manifest = |name: &str, reference: &str| Route::Manifest {
            name: name.into(),
            reference: reference.into(),
        };
        assert_eq!(
            get("/v2/shell/git/manifests/latest"),
            manifest("shell/git", "latest")
        );
        assert_eq!(
            get("/v2/manifests/blobs/manifests/tags"),
            manifest("manifests/blobs", "tags")
        );
        assert_eq!(
            get("/v2/shell%2Fgit/manifests/sha256%3Aab"),
            manifest("shell/git", "sha256:ab")
        );
        assert_eq!(
            get("/v2/a/blobs/sha256:x"),
            Route::Blob {
                digest: "sha256:x".into()
            }
        );
        assert_eq!(
            get("/v2/tags/list/tags/list"),
            Route::Tags {
                name: "tags/list".into()
            }
        );
        assert_eq!(get("/v2/a/referrers/x"), Route::Referrers { digest: "x".into() });
        for unknown in [
            "/v1/",
            "/v2/a",
            "/v2/manifests/latest",
            "/v2/a/tags/other",
            "/x",
            "/v2//",
            "/%ff",
            "/v2/a/b/c",
        ] {
            assert_eq!(get(unknown), Route::Unknown, "{unknown}");
        }
    }

    /// Fault 8 of the predecessor: a POST on a manifest built it.
    #[test]
    fn methods_that_write_never_build() {
        for method in [Method::PUT, Method::POST, Method::DELETE, Method::PATCH] {
            assert_eq!(Route::parse(&method, "/v2/a/manifests/latest"), Route::Push);
            assert_eq!(Route::parse(&method, "/v2/a/blobs/uploads/"), Route::Push);
            assert_eq!(Route::parse(&method, "/v2/a/tags/list"), Route::Method);
        }
        assert_eq!(
            Route::parse(&Method::OPTIONS, "/v2/a/manifests/latest"),
            Route::Method
        );
        assert_eq!(
            Route::parse(&Method::HEAD, "/v2/a/manifests/latest"),
            get("/v2/a/manifests/latest")
        );
    }

    proptest! {
        #[test]
        fn any_path_has_a_route(path in "\\PC{0,80}", prefix in "(/v2/)?") {
            drop(get(&format!("{prefix}{path}")));
        }

        #[test]
        fn names_come_back_whole(name in "[a-z0-9]{1,8}(/[a-z0-9.-]{1,8}){0,4}", reference in "[a-zA-Z0-9_.-]{1,20}") {
            let path = format!("/v2/{name}/manifests/{reference}");
            prop_assert_eq!(get(&path), Route::Manifest { name, reference });
        }
    }
}
