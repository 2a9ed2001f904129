//! Tokens that are accepted, and what they open.

use aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde_json::json;

use crate::maker::{
    NOW, PAID, Vectors, changed, claims, grant, header, key, sign_raw, signed, text, with_claims,
    with_grants, with_header,
};

pub(crate) fn good_ones(to: &mut Vectors) {
    let paid = format!("download {PAID}");
    let allows = [paid.as_str()];
    to.good(
        "good-one-app",
        "one app, one verb",
        with_claims(json!({})),
        &allows,
        &[
            "upgrade app/org.test.Paid/x86_64/stable",
            "list app/org.test.Paid/x86_64/stable",
            "download app/org.test.Other/x86_64/stable",
            "download app/org.test.PaidToo/x86_64/stable",
            "download runtime/org.test.Paid.Locale/x86_64/stable",
        ],
    );
    to.good(
        "good-prefix",
        "a prefix ends at a dot",
        with_grants(json!([grant(json!({"ids": null, "prefixes": ["org.acme"]}))])),
        &["download app/org.acme.Tool/x86_64/stable", "download runtime/org.acme.Tool.Locale/x86_64/stable"],
        &["download app/org.acmeother.Tool/x86_64/stable", "download app/org.acm.Tool/x86_64/stable"],
    );
    to.good(
        "good-everything",
        "the prefix * is every id",
        with_grants(json!([grant(
            json!({"ids": null, "prefixes": ["*"], "actions": ["upgrade", "export"]})
        )])),
        &["upgrade app/org.test.Paid/x86_64/stable", "export runtime/org.acme.Tool.Locale/aarch64/1.0"],
        &["download app/org.test.Paid/x86_64/stable"],
    );
    to.good(
        "good-branch-and-arch",
        "only that branch and that arch",
        with_grants(json!([grant(json!({"branches": ["stable"], "arches": ["x86_64"]}))])),
        &allows,
        &["download app/org.test.Paid/x86_64/beta", "download app/org.test.Paid/aarch64/stable"],
    );
    to.good(
        "good-two-grants",
        "what one grant lists does not count for the other",
        with_grants(json!([
            grant(json!({"branches": ["stable"]})),
            grant(json!({"ids": ["org.test.Other"], "actions": ["upgrade"], "branches": ["beta"]})),
        ])),
        &["download app/org.test.Paid/x86_64/stable", "upgrade app/org.test.Other/x86_64/beta"],
        &[
            "download app/org.test.Other/x86_64/beta",
            "upgrade app/org.test.Paid/x86_64/stable",
            "download app/org.test.Paid/x86_64/beta",
            "upgrade app/org.test.Other/x86_64/stable",
        ],
    );
    to.good(
        "good-other-detail-types",
        "details of other types are skipped, whatever they hold",
        with_grants(json!([
            {"type": "payment", "actions": {"a": 1}, "ids": 7},
            grant(json!({"locations": ["https://elsewhere.example/"]})),
        ])),
        &allows,
        &["upgrade app/org.test.Paid/x86_64/stable"],
    );
    to.good(
        "good-unknown-verb",
        "a verb that is not known here is left out",
        with_grants(json!([grant(json!({"actions": ["teleport", "download"]}))])),
        &allows,
        &["upgrade app/org.test.Paid/x86_64/stable"],
    );
    to.good(
        "good-long-type",
        "typ in its long form",
        with_header(json!({"typ": "application/at+jwt"})),
        &allows,
        &[],
    );
    to.good("good-upper-case-type", "typ in upper case", with_header(json!({"typ": "AT+JWT"})), &allows, &[]);
    to.good(
        "good-unknown-members",
        "members that nobody knows are ignored",
        signed(
            &text(&changed(header(), json!({"x5t": "AAAA", "cty": "x"}))),
            &text(&changed(claims(), json!({"scope": "openid", "deep": [[[{"a": {}}]]]}))),
        ),
        &allows,
        &[],
    );
    to.good("good-nbf-now", "valid from now on", with_claims(json!({"nbf": NOW})), &allows, &[]);
    to.good(
        "good-nbf-leeway",
        "valid in 5 seconds, within the leeway",
        with_claims(json!({"nbf": NOW + 5})),
        &[],
        &[],
    );
    to.good(
        "good-exp-leeway",
        "expired 4 seconds ago, within the leeway",
        with_claims(json!({"exp": NOW - 4})),
        &[],
        &[],
    );
    to.good(
        "good-second-key",
        "signed with the set's second key",
        {
            let header = text(&changed(header(), json!({"kid": key("second").kid()})));
            let message = format!("{}.{}", BASE64URL.encode(header), BASE64URL.encode(text(&claims())));
            let signature = sign_raw("second", &ECDSA_P256_SHA256_FIXED_SIGNING, &message);
            format!("{message}.{}", BASE64URL.encode(signature))
        },
        &allows,
        &[],
    );
}

/// Limits within a grant: some commits, some kinds.
pub(crate) fn limited_ones(to: &mut Vectors) {
    let (one, other) = ("c1".repeat(32), "d2".repeat(32));
    let of = |commit: &str, at: i64| format!("download {PAID} {commit} {at}");
    let paid = format!("download {PAID}");
    to.good(
        "good-session",
        "it names the device that it came from",
        with_claims(json!({"sid": "grt_1"})),
        &[&paid, &of(&one, NOW)],
        &[],
    );
    to.good(
        "good-commits",
        "only that commit, so not the ref whatever it has",
        with_grants(json!([grant(json!({"commits": [one]}))])),
        &[&of(&one, NOW)],
        &[
            &paid,
            &of(&other, NOW),
            &of(&one, NOW).replace("download", "upgrade"),
            &of(&one, NOW).replace("Paid", "Other"),
        ],
    );
    to.good(
        "good-made-until",
        "only commits that were made by then",
        with_grants(json!([grant(json!({"made_until": NOW - 100}))])),
        &[&of(&one, NOW - 100), &of(&other, NOW - 101)],
        &[&paid, &of(&one, NOW - 99), &of(&one, i64::MAX)],
    );
    to.good(
        "good-commits-made-until",
        "both limits count",
        with_grants(json!([grant(json!({"made_until": NOW, "commits": [one]}))])),
        &[&of(&one, NOW)],
        &[&of(&one, NOW + 1), &of(&other, NOW)],
    );
    to.good(
        "good-kinds",
        "an app and not the runtime of the same id",
        with_grants(json!([grant(json!({"kinds": ["app"]}))])),
        &[&paid],
        &["download runtime/org.test.Paid/x86_64/stable"],
    );
    let any = of(&one, NOW);
    let mut none = |name, about: &str, changes| {
        let token = with_grants(json!([grant(changes)]));
        to.good(name, about, token, &[], &[paid.as_str(), any.as_str()]);
    };
    none("empty-commits", "an empty list of commits", json!({"commits": []}));
    none("empty-kinds", "an empty list of kinds", json!({"kinds": []}));
    none("empty-kinds-unknown", "a kind that nobody knows", json!({"kinds": ["font"]}));
    none(
        "empty-commits-other-spelling",
        "commits are written in lower-case hex, whole, and there is no * for them",
        json!({"commits": [one.to_uppercase(), one[1..], format!("{one}00"), "*", "", "c".repeat(64)]}),
    );
}

pub(crate) fn grants_that_open_nothing(to: &mut Vectors) {
    let nothing = [
        "download app/org.test.Paid/x86_64/stable",
        "list app/org.test.Paid/x86_64/stable",
        "upgrade runtime/org.test.Paid.Locale/x86_64/stable",
    ];
    let mut empty = |name, about: &str, token| to.good(name, about, token, &[], &nothing);
    empty(
        "empty-no-details",
        "no authorization_details at all",
        with_claims(json!({"authorization_details": null})),
    );
    empty("empty-details", "an empty list of details", with_grants(json!([])));
    empty("empty-grant", "a grant without any list", with_grants(json!([{"type": "flatpak"}])));
    empty("empty-actions", "an empty list of actions", with_grants(json!([grant(json!({"actions": []}))])));
    empty(
        "empty-ids",
        "an empty list of ids and one of prefixes",
        with_grants(json!([grant(json!({"ids": [], "prefixes": []}))])),
    );
    empty(
        "empty-branches",
        "an empty list of branches",
        with_grants(json!([grant(json!({"branches": []}))])),
    );
    empty("empty-arches", "an empty list of arches", with_grants(json!([grant(json!({"arches": []}))])));
    empty("empty-no-branches", "no list of branches", with_grants(json!([grant(json!({"branches": null}))])));
    empty("empty-no-arches", "no list of arches", with_grants(json!([grant(json!({"arches": null}))])));
    empty(
        "empty-strings",
        "empty words in every list",
        with_grants(json!([grant(json!({
            "ids": [""], "prefixes": [""], "branches": ["", "*"], "arches": ["", "*"]
        }))])),
    );
    empty("empty-star-id", "* is no id, only a prefix", with_grants(json!([grant(json!({"ids": ["*"]}))])));
    empty(
        "empty-glob",
        "a * within a word is no pattern",
        with_grants(json!([grant(json!({
            "ids": ["org.test.*"], "prefixes": ["org.test.*", "org.*"]
        }))])),
    );
    empty(
        "empty-other-type",
        "a detail of another type with our members",
        with_grants(json!([grant(json!({"type": "flatpak_refs"}))])),
    );
}
