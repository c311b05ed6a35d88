//! What can be wrong with an installation, and how to mend it.

use serde::Serialize;

/// What is wrong. The names are what JSON and text show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) enum Fault {
    /// There is no way to an API server.
    ApiUnreachable,
    /// A question could not be asked.
    NotAllowed,
    /// A CustomResourceDefinition is not there.
    CrdMissing,
    /// A CustomResourceDefinition is another version's.
    CrdOutdated,
    /// There is no control plane in this namespace.
    OperatorMissing,
    /// No replica of the control plane is ready.
    OperatorNotReady,
    /// Fewer replicas are ready than there should be.
    OperatorDegraded,
    /// An image of Picket cannot be pulled.
    ImageUnpullable,
    /// A pod of Picket has no node.
    NotScheduled,
    /// The webhook listens on kubelet's port.
    PortReserved,
    /// The webhook configuration is not there.
    WebhookMissing,
    /// Injection is switched off.
    InjectionDisabled,
    /// A webhook that runs after ours may change what we did.
    WebhookSortsAfter,
    /// The webhook configuration has no caBundle.
    CaBundleMissing,
    /// The caBundle does not hold the authority of the certificate.
    CaBundleStale,
    /// The certificate's Secret is not there, or cannot be read as one.
    CertificateUnusable,
    /// The serving certificate has expired.
    CertificateExpired,
    /// API servers do not get an answer from the webhook.
    WebhookUnreachable,
    /// API servers do not trust the webhook's certificate.
    WebhookUntrusted,
    /// No policy protects anything.
    NoPolicy,
    /// A policy is not in use.
    PolicyNotAccepted,
    /// Nobody has looked at the present version of a policy.
    PolicyNotAssessed,
    /// Policies want Fargate pods, and there are none.
    NoFargatePods,
    /// A pod that a policy selects was not injected.
    PodNotInjected,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) enum Severity {
    /// Something does not work.
    Fault,
    /// Something may be other than it is meant.
    Warning,
}

impl Fault {
    pub(crate) const fn severity(self) -> Severity {
        match self {
            Fault::NotAllowed
            | Fault::OperatorDegraded
            | Fault::InjectionDisabled
            | Fault::WebhookSortsAfter
            | Fault::NoPolicy
            | Fault::NoFargatePods => Severity::Warning,
            _ => Severity::Fault,
        }
    }

    /// What to do about it.
    pub(crate) const fn remedy(self) -> &'static str {
        match self {
            Fault::ApiUnreachable => {
                "set KUBECONFIG to the file of a cluster that answers `kubectl version`"
            }
            Fault::NotAllowed => "ask for this right, or let somebody run this who has it",
            Fault::CrdMissing => "run `picket crds apply`, or install the chart",
            Fault::CrdOutdated => {
                "run `picket crds apply` of the installed version; `helm upgrade` does so with crds.upgrade"
            }
            Fault::OperatorMissing => "install the chart, or give its namespace with --namespace",
            Fault::OperatorNotReady | Fault::OperatorDegraded => {
                "ask the pods: kubectl describe pod and kubectl logs, with -l app.kubernetes.io/component=operator"
            }
            Fault::ImageUnpullable => {
                "push the image to a registry that the pods reach (on Fargate: ECR, read by the pod execution role) and set image.repository and sidecar.image.repository, or name a pull secret"
            }
            Fault::NotScheduled => {
                "add a Fargate profile that selects the pod's namespace and labels, or a node with room; podLabels sets labels"
            }
            Fault::PortReserved => {
                "set webhook.port to another one: 10250 belongs to kubelet on Fargate"
            }
            Fault::WebhookMissing => "run `helm upgrade`: it brings the configuration back",
            Fault::InjectionDisabled => "set injection.enabled to true when it is to work again",
            Fault::WebhookSortsAfter => {
                "see that it leaves containers, commands and volumes of injected pods alone, or let its name sort before zz-picket"
            }
            Fault::CaBundleMissing | Fault::CaBundleStale => {
                "the operator's leader writes it: look at its log; nobody else may manage clientConfig.caBundle (ca-injector, GitOps)"
            }
            Fault::CertificateUnusable => {
                "SelfManaged: delete the Secret, it is made anew; CertManager: kubectl describe certificate; External: put tls.crt, tls.key and ca.crt into it"
            }
            Fault::CertificateExpired => {
                "SelfManaged: look at the leader's log; else renew it with your issuer"
            }
            Fault::WebhookUnreachable => {
                "let the cluster's security group reach the webhook's port (8443) of the pods: on EKS an inbound rule from the cluster security group, in every security group that a SecurityGroupPolicy gives the pods; see that picket-webhook has endpoints"
            }
            Fault::WebhookUntrusted => {
                "the caBundle is not that of the certificate that is served: look at the log of the operator's leader"
            }
            Fault::NoPolicy => "apply a ProtectionPolicy or a ClusterProtectionPolicy",
            Fault::PolicyNotAccepted => "mend what the condition says",
            Fault::PolicyNotAssessed => {
                "a leader writes the status: look at the Lease picket-operator and the operators' logs"
            }
            Fault::NoFargatePods => {
                "create a Fargate profile that selects the namespace and restart the pods, or set computeType: Any in the policy"
            }
            Fault::PodNotInjected => {
                "ask `picket explain -f POD.yaml --policy POLICY.yaml`, and the log of the operator for this pod"
            }
        }
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    pub(crate) fault: Fault,
    /// What it is about: `Deployment picket-system/picket-operator`.
    pub(crate) subject: String,
    pub(crate) message: String,
    pub(crate) remedy: &'static str,
}

impl Finding {
    pub(crate) fn new(
        fault: Fault,
        subject: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            severity: fault.severity(),
            fault,
            subject: subject.into(),
            message: message.into(),
            remedy: fault.remedy(),
        }
    }
}
