//! The pages that the loopback listener answers. They hold no secret and need no script.

/// What the last page tells the person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Page {
    /// Signed in (and bought, if that was asked).
    Done,
    /// The person said no.
    Cancelled,
    /// It went wrong; the sentence says how and what to do.
    Failed(String),
    /// This address was opened a second time, or after the end.
    AlreadyUsed,
    /// A request that is not the store's answer.
    NotForYou,
}

impl Page {
    /// The HTTP status that goes with the page.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Done | Self::Cancelled | Self::Failed(_) => 200,
            Self::AlreadyUsed => 410,
            Self::NotForYou => 400,
        }
    }

    /// The page as HTML. Every last page has an element with the id `flatpass-done`, for scripted browsers; its
    /// `data-result` says how it ended.
    #[must_use]
    pub fn html(&self) -> String {
        let (result, title, text) = match self {
            Self::Done => ("done", "All set", "You can close this window. Flatpak goes on by itself."),
            Self::Cancelled => ("cancelled", "Cancelled", "Nothing was changed. You can close this window."),
            Self::Failed(why) => ("failed", "That did not work", why.as_str()),
            Self::AlreadyUsed => {
                ("used", "Already finished", "This page can be used only once. You can close this window.")
            }
            Self::NotForYou => ("refused", "Nothing here", "This address is not for you."),
        };
        let id = if self.status() == 200 { " id=\"flatpass-done\"" } else { "" };
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title} \u{2013} Flatpass</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
             <main{id} data-result=\"{result}\">\n<h1>{title}</h1>\n<p>{}</p>\n</main>\n</body>\n</html>\n",
            escaped(text)
        )
    }
}

const STYLE: &str = ":root{color-scheme:light dark}\
body{margin:0;min-height:100vh;display:grid;place-items:center;\
font:1.125rem/1.5 system-ui,sans-serif}\
main{max-width:30rem;padding:2rem;text-align:center}\
h1{font-size:1.75rem;margin:0 0 .5rem}p{margin:0}";

fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            _ => html.push(c),
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authoritys_words_cannot_become_markup() {
        let html = Page::Failed("<script>alert('x')</script>&".to_owned()).html();
        assert!(!html.contains("<script>"));
        assert!(html.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;"));
        assert!(html.contains("id=\"flatpass-done\""));
    }
}
