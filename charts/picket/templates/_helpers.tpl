{{/* Labels of every object. */}}
{{- define "picket.labels" -}}
app.kubernetes.io/name: picket
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- with .Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Labels that select the control plane's pods; they never change. */}}
{{- define "picket.selector" -}}
app.kubernetes.io/name: picket
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{/* An image reference: by digest if there is one, else by tag. */}}
{{- define "picket.image" -}}
{{- $image := index . 0 -}}
{{- $root := index . 1 -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default $root.Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* The Secret with the webhook's certificate. */}}
{{- define "picket.certificateSecret" -}}
{{- if eq .Values.certificates.mode "External" -}}
{{ .Values.certificates.secretName | default "picket-webhook-certificate" }}
{{- else -}}
picket-webhook-certificate
{{- end -}}
{{- end }}

{{/* "true" where somebody may break the glass. */}}
{{- define "picket.breakGlass" -}}
{{- or .Values.breakGlass.groups .Values.breakGlass.users | empty | not -}}
{{- end }}

{{/* "true" where the backstop refuses pods: not while the kill switch is on. */}}
{{- define "picket.backstopDenies" -}}
{{- and (eq .Values.backstop.mode "Deny") .Values.injection.enabled -}}
{{- end }}

{{/* What the schema cannot say in words that help. */}}
{{- define "picket.check" -}}
{{- range $key, $port := dict "webhook.port" .Values.webhook.port "health.port" .Values.health.port "relay.port" .Values.relay.port }}
{{- if eq (int $port) 10250 }}
{{- fail (printf "%s: 10250 belongs to kubelet on Fargate; choose another one, for example 8443 for webhook.port, 8080 for health.port and 8444 for relay.port" $key) }}
{{- end }}
{{- end }}
{{- if and .Values.certificates.secretName (ne .Values.certificates.mode "External") }}
{{- fail (printf "certificates.secretName: only certificates.mode External reads a Secret of yours, and the mode is %s; set the mode or leave the name out" .Values.certificates.mode) }}
{{- end }}
{{- if and .Values.certificates.certManager.issuer.name (ne .Values.certificates.mode "CertManager") }}
{{- fail (printf "certificates.certManager.issuer.name: only certificates.mode CertManager asks an issuer, and the mode is %s; set the mode or leave the name out" .Values.certificates.mode) }}
{{- end }}
{{- if eq (int .Values.webhook.port) (int .Values.health.port) }}
{{- fail (printf "health.port: %v is webhook.port already; choose two different ports" .Values.health.port) }}
{{- end }}
{{- if and .Values.relay.enabled (or (eq (int .Values.relay.port) (int .Values.webhook.port)) (eq (int .Values.relay.port) (int .Values.health.port))) }}
{{- fail (printf "relay.port: %v is another server's port already; choose another one, for example 8444" .Values.relay.port) }}
{{- end }}
{{- with .Values.imageResolution }}
{{- if and (eq .pullSecrets "Namespaces") (empty .namespaces) }}
{{- fail "imageResolution.namespaces: empty, but imageResolution.pullSecrets is Namespaces; name the namespaces, or set pullSecrets to Off or Cluster" }}
{{- end }}
{{- if and .namespaces (ne .pullSecrets "Namespaces") }}
{{- fail (printf "imageResolution.namespaces: not looked at while imageResolution.pullSecrets is %s; set that to Namespaces, or leave the list empty" .pullSecrets) }}
{{- end }}
{{- if and (not .enabled) (or .credentialsSecret .mirrors (ne .pullSecrets "Off")) }}
{{- fail "imageResolution.enabled: false, but credentials, mirrors or pull secrets are set; enable it, or remove them" }}
{{- end }}
{{- if ge (int .timeoutMilliseconds) (mul 1000 (int $.Values.webhook.timeoutSeconds)) }}
{{- fail (printf "imageResolution.timeoutMilliseconds: %v is not less than webhook.timeoutSeconds (%v s); the API server would give up first" .timeoutMilliseconds $.Values.webhook.timeoutSeconds) }}
{{- end }}
{{- end }}
{{- range .Values.imageResolution.allowNetworks }}
{{- if has . $.Values.imageResolution.refuseNetworks }}
{{- fail (printf "imageResolution.refuseNetworks: %s is in imageResolution.allowNetworks too; leave it in one of them" .) }}
{{- end }}
{{- end }}
{{- if and .Values.networkPolicy.metricsFrom (not .Values.networkPolicy.enabled) }}
{{- fail "networkPolicy.metricsFrom: not looked at while networkPolicy.enabled is false, and everybody may read the metrics; enable it, or leave the list empty" }}
{{- end }}
{{- if and .Values.monitoring.podMonitor.enabled (.Values.monitoring.serviceMonitor).enabled }}
{{- fail "monitoring.serviceMonitor.enabled: monitoring.podMonitor.enabled reads the same metrics already; choose one of them" }}
{{- end }}
{{- if eq .Values.certificates.mode "CertManager" }}
{{- with .Values.certificates.certManager }}
{{- if ge (regexFind "^[0-9]+" .renewBefore | int) (regexFind "^[0-9]+" .duration | int) }}
{{- fail (printf "certificates.certManager.renewBefore: %s is not less than certificates.certManager.duration (%s); a certificate would have to be renewed before it is there" .renewBefore .duration) }}
{{- end }}
{{- end }}
{{- end }}
{{- range $key, $labels := dict "podLabels" .Values.podLabels "labels" .Values.labels }}
{{- range $label, $_ := $labels }}
{{- if has $label (list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component" "app.kubernetes.io/version" "app.kubernetes.io/managed-by" "helm.sh/chart") }}
{{- fail (printf "%s: %s is a label of the chart's own, by which Services find the pods; choose another key" $key $label) }}
{{- end }}
{{- end }}
{{- end }}
{{- $own := .Values.sidecar.revision | default .Chart.AppVersion }}
{{- range $index, $canary := .Values.sidecar.revisions }}
{{- if eq $canary.revision $own }}
{{- fail (printf "sidecar.revisions[%d].revision: %s is the revision of all other namespaces too; give the canary another one, so that its pods can be told apart" $index $own) }}
{{- end }}
{{- end }}
{{- end }}
