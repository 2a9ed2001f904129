//! Amounts of money: whole minor units and an ISO 4217 currency.

use std::fmt;

/// Currencies with no minor unit, and with three digits of it; all the others here have two (ISO 4217).
const NO_DIGITS: &str = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF";
const THREE_DIGITS: &str = "BHD IQD JOD KWD LYD OMR TND";
const TWO_DIGITS: &str = "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF \
    CHF CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS \
    INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD \
    NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP \
    SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VES WST XCD YER ZAR ZMW ZWG";

/// The largest price: more is a typing error.
const MOST_MINOR: i64 = 100_000_000_000;

/// An amount of money.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Money {
    /// Whole minor units: 500 is 5.00 EUR, and 500 JPY.
    pub minor: i64,
    /// The ISO 4217 code in capitals, such as `EUR`.
    pub currency: String,
}

/// Why an amount cannot be a price.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not a currency code in use.
    #[error("\"{0}\" is not an ISO 4217 currency code such as EUR or USD")]
    Currency(String),
    /// Not a decimal number such as `5.00`.
    #[error("\"{0}\" is not an amount such as 5.00")]
    Amount(String),
    /// More digits after the point than the currency has.
    #[error("{currency} has {digits} digits after the point")]
    Digits {
        /// The currency code.
        currency: String,
        /// How many digits its minor unit has.
        digits: u32,
    },
    /// Zero, negative, or too much to be meant.
    #[error("a price must be more than zero and at most {MOST_MINOR} minor units")]
    Range,
}

/// How many digits of minor unit `currency` has; `None` for a code that is not in use.
fn digits_of(currency: &str) -> Option<u32> {
    let listed = |list: &str| list.split_whitespace().any(|code| code == currency);
    if listed(TWO_DIGITS) {
        Some(2)
    } else if listed(NO_DIGITS) {
        Some(0)
    } else if listed(THREE_DIGITS) {
        Some(3)
    } else {
        None
    }
}

impl Money {
    /// Reads an amount as people write it (`5`, `5.0`, `5.00`, no thousands mark) and a currency code in any case.
    ///
    /// # Errors
    /// See [`MoneyError`]; zero and less are refused because this is a price.
    pub fn parse(amount: &str, currency: &str) -> Result<Self, MoneyError> {
        let currency = currency.to_ascii_uppercase();
        let digits = digits_of(&currency).ok_or_else(|| MoneyError::Currency(currency.clone()))?;
        let wrong = || MoneyError::Amount(amount.chars().take(40).collect());
        let (whole, fraction) = amount.split_once('.').unwrap_or((amount, "0"));
        let decimal = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !decimal(whole) || !decimal(fraction) {
            return Err(wrong());
        }
        let significant = fraction.trim_end_matches('0');
        let missing = usize::try_from(digits)
            .ok()
            .and_then(|digits| digits.checked_sub(significant.len()))
            .ok_or_else(|| MoneyError::Digits { currency: currency.clone(), digits })?;
        let minor =
            format!("{whole}{significant}{}", "0".repeat(missing)).parse().map_err(|_| MoneyError::Range)?;
        let money = Self { minor, currency };
        money.check_price()?;
        Ok(money)
    }

    /// Whether this can be a price.
    ///
    /// # Errors
    /// [`MoneyError::Currency`] for an unknown currency, [`MoneyError::Range`] unless 0 < `minor` <= 100 000 000 000.
    pub fn check_price(&self) -> Result<(), MoneyError> {
        digits_of(&self.currency).ok_or_else(|| MoneyError::Currency(self.currency.clone()))?;
        if (1..=MOST_MINOR).contains(&self.minor) { Ok(()) } else { Err(MoneyError::Range) }
    }
}

impl fmt::Display for Money {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = digits_of(&self.currency).unwrap_or(0);
        let unit = 10u64.pow(digits);
        let (sign, minor) = (if self.minor < 0 { "-" } else { "" }, self.minor.unsigned_abs());
        match usize::try_from(digits) {
            Ok(width @ 1..) => {
                write!(out, "{sign}{}.{:0width$} {}", minor / unit, minor % unit, self.currency)
            }
            _ => write!(out, "{sign}{minor} {}", self.currency),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_and_printed_with_the_digits_of_their_currency() {
        let read = |amount, currency| Money::parse(amount, currency).map(|money| money.to_string());
        assert_eq!(read("5", "eur"), Ok("5.00 EUR".to_owned()));
        assert_eq!(read("0.05", "USD"), Ok("0.05 USD".to_owned()));
        assert_eq!(read("500", "JPY"), Ok("500 JPY".to_owned()));
        assert_eq!(read("500.000", "JPY"), Ok("500 JPY".to_owned()));
        assert_eq!(read("1.234", "KWD"), Ok("1.234 KWD".to_owned()));
        assert_eq!(read("1.234", "EUR"), Err(MoneyError::Digits { currency: "EUR".into(), digits: 2 }));
        assert_eq!(read("5.00", "EUD"), Err(MoneyError::Currency("EUD".into())));
        assert_eq!(read("0", "EUR"), Err(MoneyError::Range));
        assert_eq!(read("99999999999999999999", "EUR"), Err(MoneyError::Range));
        for bad in ["", ".", "5.", ".5", "-5", "+5", "5,00", "1e3", "٥"] {
            assert_eq!(read(bad, "EUR"), Err(MoneyError::Amount(bad.to_owned())), "{bad:?}");
        }
    }
}
