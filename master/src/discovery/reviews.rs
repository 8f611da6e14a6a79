//! Questions that are asked by creating an object which is nowhere kept: who is this, may they do that.
use super::groups::Listed;
use crate::resource::Names;

/// All of them.
pub(super) fn all() -> impl Iterator<Item = Listed> {
    ALL.iter().map(|names| Listed {
        names: *names,
        verbs: &["create"],
        subresources: &[],
    })
}

const ALL: &[Names] = &[
    of(
        "authentication.k8s.io",
        "selfsubjectreviews",
        "selfsubjectreview",
        "SelfSubjectReview",
    ),
    of(
        "authentication.k8s.io",
        "tokenreviews",
        "tokenreview",
        "TokenReview",
    ),
    Names {
        namespaced: true,
        ..of(
            "authorization.k8s.io",
            "localsubjectaccessreviews",
            "localsubjectaccessreview",
            "LocalSubjectAccessReview",
        )
    },
    of(
        "authorization.k8s.io",
        "selfsubjectaccessreviews",
        "selfsubjectaccessreview",
        "SelfSubjectAccessReview",
    ),
    of(
        "authorization.k8s.io",
        "selfsubjectrulesreviews",
        "selfsubjectrulesreview",
        "SelfSubjectRulesReview",
    ),
    of(
        "authorization.k8s.io",
        "subjectaccessreviews",
        "subjectaccessreview",
        "SubjectAccessReview",
    ),
];

const fn of(
    group: &'static str,
    plural: &'static str,
    singular: &'static str,
    kind: &'static str,
) -> Names {
    Names {
        group,
        version: "v1",
        plural,
        singular,
        kind,
        short: &[],
        categories: &[],
        namespaced: false,
        prefix: "",
        schema: "",
    }
}
