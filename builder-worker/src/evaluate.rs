//! Evaluation: from attributes to derivations, or to the reason why there is none.
//!
//! All attributes of a job are evaluated by one process, because its cost is that of the package set and not that of an
//! attribute. An attribute that ends the process is found by halving, so that it sinks nobody else.

use std::path::Path;

use laminix::name::{Attribute, System};
use laminix::record::StorePath;
use serde::{Deserialize, Serialize};

use crate::near::near;
use crate::nix::{CURRENT, Nix};
use crate::process::ProcessError;
use crate::words::{last_words, line, not_a_package, refusal};

/// What an attribute turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evaluated {
    /// Something that can be built.
    Package(Box<Derivation>),
    /// Nothing of that name; up to five of nearly that name.
    NotFound(Vec<String>),
    /// Something that is not built here: a sentence that says why.
    Refused(String),
    /// Its evaluation failed: a sentence that says how.
    Failed(String),
}

/// A package as it was evaluated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Derivation {
    /// The attribute as it was found.
    pub attribute: Attribute,
    /// What to build: for most packages one derivation, with the outputs to install.
    pub drvs: Vec<Drv>,
    /// The derivation's name.
    pub name: String,
    /// Its version, if it says one.
    pub version: Option<String>,
    /// One line of what it is.
    pub description: Option<String>,
    /// Its licences.
    pub licenses: Vec<String>,
    /// Where it lives on the web.
    pub homepage: Option<String>,
    /// The program it is known for.
    pub main_program: Option<String>,
    /// Who wins where links collide; lower is stronger.
    pub priority: i64,
}

impl Derivation {
    /// The paths of all outputs to install, in order.
    pub fn outputs(&self) -> impl Iterator<Item = &StorePath> {
        self.drvs
            .iter()
            .flat_map(|drv| drv.outputs.iter().map(|output| &output.path))
    }
}

/// A derivation and those of its outputs that are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Drv {
    /// The `.drv` file.
    pub drv_path: StorePath,
    /// The system that it is built on, such as `x86_64-linux`, or `builtin`: on any; if it says one.
    pub system: Option<String>,
    /// The wanted outputs.
    pub outputs: Vec<DrvOutput>,
}

/// An output of a derivation.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct DrvOutput {
    /// `out`, `bin`, `dev` …
    pub name: String,
    /// Where it will be.
    pub path: StorePath,
}

/// nixpkgs' `lib.meta.defaultPriority`.
const DEFAULT_PRIORITY: i64 = 5;

#[derive(Serialize)]
struct Request<'a> {
    set: &'a Path,
    system: System,
    config: &'a serde_json::Value,
    attributes: Vec<Vec<&'a str>>,
    explain: bool,
}

/// What `evaluate.nix` says of one attribute.
#[derive(Deserialize)]
#[serde(tag = "status", rename_all = "camelCase", rename_all_fields = "camelCase")]
enum Answer {
    Ok {
        attribute: Vec<String>,
        drvs: Vec<Drv>,
        name: Option<String>,
        version: Option<String>,
        description: Option<String>,
        licenses: Vec<String>,
        homepage: Option<String>,
        main_program: Option<String>,
        priority: Option<i64>,
    },
    Missing {
        names: Vec<String>,
        prefix: Vec<String>,
    },
    Refused {
        reason: String,
        name: Option<String>,
        licenses: Vec<String>,
        known_vulnerabilities: Vec<String>,
    },
    NotDerivation {
        what: String,
        names: Vec<String>,
    },
    Threw {},
}

/// A process either answers for all that it was asked, or dies with its last words.
enum Reply {
    Answers(Vec<Answer>),
    Died(String),
}

/// One package set at one revision, for one system.
#[derive(Debug, Clone, Copy)]
pub struct Evaluation<'a> {
    /// The Nix that evaluates.
    pub nix: &'a Nix,
    /// The directory of the set.
    pub set: &'a Path,
    /// The system to build for.
    pub system: System,
}

impl Evaluation<'_> {
    /// Evaluates attributes, and answers for each in their order.
    ///
    /// # Errors
    /// When Nix cannot be run at all.
    pub async fn run(&self, attributes: &[Attribute]) -> anyhow::Result<Vec<Evaluated>> {
        if self.nix.too_old_for(self.set).await? {
            let sentence = format!(
                "this package set needs a newer Nix than the registry's, which is {}: with {CURRENT} or later it works",
                self.nix.version()
            );
            return Ok(vec![Evaluated::Failed(sentence); attributes.len()]);
        }
        let mut found = Vec::with_capacity(attributes.len());
        // the front half of what is left is on top, so the answers come in order
        let mut left = vec![attributes];
        while let Some(batch) = left.pop() {
            match self.ask(batch, false).await? {
                Reply::Answers(answers) => {
                    for (attribute, answer) in batch.iter().zip(answers) {
                        found.push(self.judge(attribute, answer).await?);
                    }
                }
                Reply::Died(words) if batch.len() == 1 => {
                    found.push(Evaluated::Failed(format!(
                        "the evaluation of `{}` failed: {words}",
                        batch[0]
                    )));
                }
                Reply::Died(_) => {
                    let (front, back) = batch.split_at(batch.len() / 2);
                    left.extend([back, front]);
                }
            }
        }
        Ok(found)
    }

    async fn ask(&self, attributes: &[Attribute], explain: bool) -> anyhow::Result<Reply> {
        if attributes.is_empty() {
            return Ok(Reply::Answers(Vec::new()));
        }
        let request = Request {
            set: self.set,
            system: self.system,
            config: &self.nix.settings().config,
            attributes: attributes
                .iter()
                .map(|attribute| attribute.levels().collect())
                .collect(),
            explain,
        };
        let directory = tempfile::Builder::new()
            .prefix("request-")
            .tempdir_in(&self.nix.settings().state)?;
        let file = directory.path().join("request.json");
        std::fs::write(&file, serde_json::to_vec(&request)?)?;
        let run = self
            .nix
            .instantiate()
            .arg("-I")
            .arg(self.set)
            .arg("-I")
            .arg(directory.path());
        let run = run
            .args(["--eval", "--strict", "--json", "--read-write-mode"])
            .arg(self.nix.expression("evaluate.nix"));
        match run.args(["--argstr", "request"]).arg(&file).finish().await {
            // 2.8 prints what it has before it fails: the code comes first
            Ok(done) if done.status.success() => {
                // a set can make paths that are none, and 2.8 prints strings that are not UTF-8 as they are
                let answers = serde_json::from_slice::<Vec<Answer>>(&done.stdout).ok();
                let answers = answers.filter(|answers| answers.len() == attributes.len());
                Ok(answers.map_or_else(
                    || Reply::Died("what the package set says of it makes no sense".to_owned()),
                    Reply::Answers,
                ))
            }
            Ok(done) => Ok(Reply::Died(last_words(&done.tail_text(), self.set))),
            Err(ProcessError::Time(_, time)) => {
                Ok(Reply::Died(format!("it takes longer than {} s", time.as_secs())))
            }
            Err(ProcessError::Output(..)) => Ok(Reply::Died("it answers without end".to_owned())),
            Err(error @ ProcessError::Io(..)) => Err(error.into()),
        }
    }

    async fn judge(&self, attribute: &Attribute, answer: Answer) -> anyhow::Result<Evaluated> {
        Ok(match answer {
            Answer::Ok {
                attribute: found,
                drvs,
                name,
                version,
                description,
                licenses,
                homepage,
                main_program,
                priority,
            } => {
                let Ok(found) = found.join(".").parse::<Attribute>() else {
                    return Ok(Evaluated::Refused(format!(
                        "`{attribute}` cannot be written as an image name"
                    )));
                };
                let name = name.unwrap_or_else(|| found.to_string());
                Evaluated::Package(Box::new(Derivation {
                    attribute: found,
                    drvs,
                    name: line(&name),
                    version: version.as_deref().map(line),
                    description: description.as_deref().map(line),
                    licenses: licenses.iter().map(|license| line(license)).collect(),
                    homepage: homepage.as_deref().map(line),
                    main_program: main_program.as_deref().map(line),
                    priority: priority.unwrap_or(DEFAULT_PRIORITY),
                }))
            }
            Answer::Missing { names, prefix } => {
                let wanted = attribute.levels().nth(prefix.len()).unwrap_or_default();
                Evaluated::NotFound(near(wanted, &prefix, &names))
            }
            Answer::Refused {
                reason,
                name,
                licenses,
                known_vulnerabilities,
            } => {
                let name = name.unwrap_or_else(|| attribute.to_string());
                Evaluated::Refused(line(&refusal(
                    &reason,
                    &name,
                    &licenses,
                    &known_vulnerabilities,
                    self.system,
                )))
            }
            Answer::NotDerivation { what, names } => {
                Evaluated::Refused(not_a_package(attribute, &what, &names))
            }
            Answer::Threw {} => match self.ask(std::slice::from_ref(attribute), true).await? {
                Reply::Died(words) => {
                    Evaluated::Refused(format!("the package set does not have `{attribute}`: {words}"))
                }
                // what throws when it is caught and not when it is not
                Reply::Answers(_) => Evaluated::Failed(format!("the evaluation of `{attribute}` failed")),
            },
        })
    }
}
