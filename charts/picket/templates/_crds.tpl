{{/* A job for the CustomResourceDefinitions, and rights for it that exist only while it runs:
     name, hook, role (a file) and command, with the root in it. */}}
{{- define "picket.crds" -}}
{{- $root := .root }}
{{- $hook := dict "helm.sh/hook" .hook "helm.sh/hook-delete-policy" "before-hook-creation,hook-succeeded" }}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ .name }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "picket.labels" $root | nindent 4 }}
  annotations:
    {{- toYaml (set (deepCopy $hook) "helm.sh/hook-weight" "-2") | nindent 4 }}
automountServiceAccountToken: false
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: {{ .name }}
  labels:
    {{- include "picket.labels" $root | nindent 4 }}
  annotations:
    {{- toYaml (set (deepCopy $hook) "helm.sh/hook-weight" "-2") | nindent 4 }}
rules:
  {{- $root.Files.Get .role | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {{ .name }}
  labels:
    {{- include "picket.labels" $root | nindent 4 }}
  annotations:
    {{- toYaml (set (deepCopy $hook) "helm.sh/hook-weight" "-1") | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: {{ .name }}
subjects:
  - kind: ServiceAccount
    name: {{ .name }}
    namespace: {{ $root.Release.Namespace }}
---
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ .name }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "picket.labels" $root | nindent 4 }}
  annotations:
    {{- toYaml (set (deepCopy $hook) "helm.sh/hook-weight" "0") | nindent 4 }}
spec:
  backoffLimit: 3
  activeDeadlineSeconds: 300
  template:
    metadata:
      labels:
        app.kubernetes.io/name: picket
        app.kubernetes.io/instance: {{ $root.Release.Name }}
        app.kubernetes.io/component: crds
        {{- with $root.Values.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      restartPolicy: Never
      serviceAccountName: {{ .name }}
      automountServiceAccountToken: true
      securityContext:
        runAsNonRoot: true
        runAsUser: 64738
        runAsGroup: 64738
        seccompProfile:
          type: RuntimeDefault
      containers:
        - name: crds
          image: {{ include "picket.image" (list $root.Values.image $root) | quote }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          command: {{ .command | toJson }}
          resources:
            requests:
              cpu: 10m
              memory: 32Mi
            limits:
              memory: 64Mi
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities:
              drop: [ALL]
      {{- with $root.Values.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $root.Values.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
{{- end }}
