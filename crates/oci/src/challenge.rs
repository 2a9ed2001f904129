//! The challenges of a `WWW-Authenticate` field (RFC 9110, 11.6.1): which scheme, with which parameters.

/// The longest field that is read, in bytes.
pub const MAX_CHALLENGE_BYTES: usize = 8 * 1024;
/// The most challenges in one field, and the most parameters of one.
const MAX_PARTS: usize = 32;

/// One challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    scheme: String,
    parameters: Vec<(String, String)>,
}

/// Why a field cannot be read. What cannot be read whole is not used in part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChallengeError {
    /// Too long, or too many parts.
    #[error("the challenge is too long")]
    TooLong,
    /// Not what RFC 9110 says it is.
    #[error("the challenge does not follow RFC 9110, section 11.6.1")]
    Form,
    /// A parameter stands there twice: two readers could take two different ones.
    #[error("the challenge has a parameter twice")]
    Twice,
}

impl Challenge {
    /// Reads the value of a `WWW-Authenticate` field.
    ///
    /// # Errors
    /// [`ChallengeError`]
    pub fn parse_all(field: &str) -> Result<Vec<Self>, ChallengeError> {
        if field.len() > MAX_CHALLENGE_BYTES {
            return Err(ChallengeError::TooLong);
        }
        Reader { rest: field }.challenges()
    }

    /// Whether it is of that scheme, such as `Bearer`, in whatever case.
    #[must_use]
    pub fn is(&self, scheme: &str) -> bool {
        self.scheme.eq_ignore_ascii_case(scheme)
    }

    /// The scheme as it was written.
    #[must_use]
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The parameter of that name, in whatever case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

struct Reader<'a> {
    rest: &'a str,
}

const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

impl<'a> Reader<'a> {
    fn challenges(mut self) -> Result<Vec<Challenge>, ChallengeError> {
        let mut found: Vec<Challenge> = Vec::new();
        self.skip_commas();
        while !self.rest.is_empty() {
            let word = self.token().ok_or(ChallengeError::Form)?;
            // `name = value` goes on with the last challenge; a word followed by a space or the end begins a new one.
            let after = self.rest;
            self.skip_spaces();
            if self.take(b'=') && !found.is_empty() && !self.rest.starts_with('=') {
                self.skip_spaces();
                let value = self.value().ok_or(ChallengeError::Form)?;
                let Some(last) = found.last_mut() else { return Err(ChallengeError::Form) };
                if last.get(word).is_some() {
                    return Err(ChallengeError::Twice);
                }
                if last.parameters.len() == MAX_PARTS {
                    return Err(ChallengeError::TooLong);
                }
                last.parameters.push((word.to_owned(), value));
                self.end_of_element()?;
                continue;
            }
            self.rest = after;
            if found.len() == MAX_PARTS {
                return Err(ChallengeError::TooLong);
            }
            found.push(Challenge { scheme: word.to_owned(), parameters: Vec::new() });
            if self.rest.is_empty() || self.rest.starts_with(',') {
                self.end_of_element()?;
            } else if self.skip_spaces() == 0 {
                return Err(ChallengeError::Form);
            } else if self.rest.is_empty() || self.rest.starts_with(',') || self.skip_token68() {
                self.end_of_element()?;
            }
        }
        Ok(found)
    }

    /// What schemes such as Negotiate have in the place of parameters. It ends its challenge.
    fn skip_token68(&mut self) -> bool {
        let is_byte = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte);
        let letters = self.rest.bytes().take_while(is_byte).count();
        let padding = self.rest.bytes().skip(letters).take_while(|byte| *byte == b'=').count();
        let rest = self.rest.get(letters + padding..).unwrap_or_default();
        let ends = rest.trim_start_matches([' ', '\t']);
        let is_one = letters > 0 && (ends.is_empty() || ends.starts_with(','));
        if is_one {
            self.rest = rest;
        }
        is_one
    }

    /// A comma, or the end.
    fn end_of_element(&mut self) -> Result<(), ChallengeError> {
        self.skip_spaces();
        if !self.rest.is_empty() && !self.rest.starts_with(',') {
            return Err(ChallengeError::Form);
        }
        self.skip_commas();
        Ok(())
    }

    fn token(&mut self) -> Option<&'a str> {
        let length = self.rest.bytes().take_while(|byte| is_token_byte(*byte)).count();
        let (token, rest) = self.rest.split_at_checked(length).filter(|(token, _)| !token.is_empty())?;
        self.rest = rest;
        Some(token)
    }

    /// A token or a quoted string.
    fn value(&mut self) -> Option<String> {
        if !self.take(b'"') {
            return self.token().map(str::to_owned);
        }
        let mut value = String::new();
        let mut letters = self.rest.char_indices();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '"' => {
                    self.rest = self.rest.get(at + 1..)?;
                    return Some(value);
                }
                '\\' => value.push(
                    letters.next().map(|(_, escaped)| escaped).filter(|escaped| !is_control(*escaped))?,
                ),
                letter if is_control(letter) => return None,
                letter => value.push(letter),
            }
        }
        None
    }

    fn take(&mut self, byte: u8) -> bool {
        let rest = self.rest.strip_prefix(char::from(byte));
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn skip_spaces(&mut self) -> usize {
        let rest = self.rest.trim_start_matches([' ', '\t']);
        let skipped = self.rest.len() - rest.len();
        self.rest = rest;
        skipped
    }

    fn skip_commas(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', ',']);
    }
}

fn is_control(letter: char) -> bool {
    letter.is_control() && letter != '\t'
}
