//! What was written behind a command: options, and words that are none.

/// The arguments of a command, told apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Given {
    flags: Vec<&'static str>,
    values: Vec<(&'static str, String)>,
    words: Vec<String>,
}

impl Given {
    /// Reads arguments of a command that has these options, without and with a value: `--flag`, `--value X`,
    /// `--value=X`. What follows `--` is words, and so is `-`.
    ///
    /// # Errors
    /// A sentence.
    pub(super) fn read(
        arguments: &[String],
        flags: &[&'static str],
        values: &[&'static str],
    ) -> Result<Self, String> {
        let mut given = Self::default();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            if argument == "--" {
                given.words.extend(arguments.cloned());
                break;
            }
            if argument == "-" || !argument.starts_with('-') {
                given.words.push(argument.clone());
                continue;
            }
            let (name, value) = match argument.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (argument.as_str(), None),
            };
            if let Some(flag) = flags.iter().find(|flag| **flag == name) {
                if value.is_some() {
                    return Err(format!("`{name}` takes no value"));
                }
                given.flags.push(flag);
            } else if let Some(option) = values.iter().find(|option| **option == name) {
                let value = value.or_else(|| arguments.next().cloned());
                let value = value.ok_or_else(|| format!("`{name}` wants a value"))?;
                if given.value(name).is_some() {
                    return Err(format!("`{name}` is there twice"));
                }
                given.values.push((option, value));
            } else {
                let known: Vec<&str> = flags.iter().chain(values).copied().collect();
                return Err(match known.join(", ").as_str() {
                    "" => format!("`{name}` is no option: it has none"),
                    known => format!("`{name}` is no option: it has {known}"),
                });
            }
        }
        Ok(given)
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.flags.contains(&name)
    }

    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let found = self.values.iter().find(|(option, _)| *option == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(super) fn words(self) -> Vec<String> {
        self.words
    }

    /// For commands that are about nothing in particular.
    ///
    /// # Errors
    /// A sentence, when there is a word.
    pub(super) fn no_words(&self) -> Result<(), String> {
        match self.words.first() {
            None => Ok(()),
            Some(word) => Err(format!("it takes no argument, and `{word}` is one")),
        }
    }
}
