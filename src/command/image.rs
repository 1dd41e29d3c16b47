//! Images as they are named on a command line or in a list: `shell/git` or `shell/git:TAG`.

use std::collections::HashSet;
use std::fmt;

use super::words;
use crate::job::{Job, Work};
use crate::key::TagRef;
use crate::name::{Image, System, Tag};
use crate::source::Source;

/// An image as somebody would pull it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Named {
    name: String,
    /// Its tag, `latest` where none was written.
    pub(super) tag: Tag,
    /// What the name asks for.
    pub(super) image: Image,
}

impl Named {
    /// Reads `NAME` or `NAME:TAG`, with a tag that this source can have.
    ///
    /// # Errors
    /// A sentence.
    pub(super) fn parse(text: &str, system: System, source: &Source) -> Result<Self, String> {
        let problem = |problem: &dyn fmt::Display| format!("`{text}`: {problem}");
        if text.contains('@') {
            return Err(problem(
                &"an image that is named by its digest is made already: name it by a tag",
            ));
        }
        let port = |host: &str| {
            let port = host.split_once(':').map_or("", |(_, port)| port);
            !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit())
        };
        // a branch's name may have a `/` in it: that is no address, and no tag either
        if text.contains("://") || text.split_once('/').is_some_and(|(host, _)| port(host)) {
            return Err(problem(
                &"write the image's name without the registry's address, such as `shell/git`",
            ));
        }
        let (name, tag) = match text.split_once(':') {
            Some((name, tag)) => (name, tag.parse().map_err(|error| problem(&error))?),
            None => (text, Tag::latest()),
        };
        let image = Image::parse(name, system).map_err(|error| problem(&error))?;
        source.reference(&tag).map_err(|error| problem(&error))?;
        Ok(Self {
            name: name.to_owned(),
            tag,
            image,
        })
    }

    /// The job that makes it ready. A worker's own system stands for a name that asks for none, so the name says which.
    pub(super) fn job(&self, source: &Source) -> Job {
        let explicit = format!("{}/{}", self.image.system().architecture(), self.name);
        // a name that is nearly too long stays as it is
        let name = match Image::parse(&explicit, self.image.system()) {
            Ok(image) if image == self.image => explicit,
            Ok(_) | Err(_) => self.name.clone(),
        };
        Job::new(Work::Warm {
            source: source.clone(),
            name,
            tag: self.tag.clone(),
        })
    }

    /// Its tag, in this source.
    pub(super) fn tag_ref(&self, source: &Source) -> TagRef {
        TagRef {
            source: source.id(),
            tag: self.tag.clone(),
        }
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.tag)
    }
}

/// Reads all of these names, each once: `(where it was written, text)`.
///
/// # Errors
/// All problems, a sentence each.
pub(super) fn all(
    texts: &[(String, String)],
    system: System,
    source: &Source,
) -> Result<Vec<Named>, Vec<String>> {
    let (mut images, mut seen, mut problems) = (Vec::new(), HashSet::new(), Vec::new());
    for (place, text) in texts {
        match Named::parse(text, system, source) {
            Ok(named) if seen.insert((named.image.clone(), named.tag.clone())) => images.push(named),
            Ok(_) => {}
            Err(problem) => problems.push(format!("{place}{problem}")),
        }
    }
    if problems.is_empty() {
        return Ok(images);
    }
    problems.push(format!(
        "{} cannot be read: no job was sent.",
        words::count(problems.len(), "name")
    ));
    Err(problems)
}

/// The names in a list: one on a line, `#` begins a comment.
pub(super) fn lines(file: &str, text: &str) -> Vec<(String, String)> {
    let lines = text.lines().enumerate();
    let named = lines.map(|(at, line)| {
        let name = line.split('#').next().unwrap_or_default().trim();
        (format!("{file}:{}: ", at + 1), name.to_owned())
    });
    named.filter(|(_, name)| !name.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Named, String> {
        let source = "channel:nixos-unstable".parse().unwrap();
        Named::parse(text, System::Amd64, &source)
    }

    #[test]
    fn a_name_may_have_a_tag() {
        let named = parse("shell/git").unwrap();
        assert_eq!(named.to_string(), "shell/git:latest");
        assert_eq!(parse("git:nixos-26.05").unwrap().tag.as_str(), "nixos-26.05");
        for bad in [
            "",
            "Git",
            "git:",
            "git:a/b",
            "git:a:b",
            "git@sha256:00",
            "localhost:5726/git",
            "docker://git",
            "git:feature_x",
        ] {
            let problem = parse(bad).unwrap_err();
            assert!(problem.starts_with(&format!("`{bad}`: ")), "{problem}");
        }
        assert!(parse("localhost:5726/git").unwrap_err().contains("address"));
        assert!(parse("git:feature/x").unwrap_err().contains("a tag is"));
    }

    #[test]
    fn a_job_says_for_which_system() {
        let source: Source = "channel:nixos-unstable".parse().unwrap();
        for (text, system, sent) in [
            ("shell/git", System::Amd64, "amd64/shell/git"),
            ("shell/git", System::Arm64, "arm64/shell/git"),
            ("shell/arm64/git", System::Amd64, "arm64/shell/arm64/git"),
        ] {
            let named = Named::parse(text, system, &source).unwrap();
            let Work::Warm { name, .. } = named.job(&source).work else {
                panic!("{text}")
            };
            assert_eq!(name, sent);
        }
        let long = format!("a{}", "/a".repeat(126));
        let named = Named::parse(&long, System::Amd64, &source).unwrap();
        assert!(matches!(named.job(&source).work, Work::Warm { name, .. } if name == long));
    }

    #[test]
    fn a_list_has_comments_and_tells_all_problems_by_line() {
        let texts = lines(
            "list",
            "# tools\ngit\n\n  curl:latest # the web\ngit:latest\nBad\nworse:\n",
        );
        let source = "channel:nixos-unstable".parse().unwrap();
        let problems = all(&texts, System::Amd64, &source).unwrap_err();
        assert!(problems[0].starts_with("list:6: `Bad`") && problems[1].starts_with("list:7: `worse:`"));
        assert_eq!(problems.len(), 3, "{problems:?}");
        let images = all(&texts[..3], System::Amd64, &source).unwrap();
        let names: Vec<String> = images.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["git:latest", "curl:latest"]);
    }
}
