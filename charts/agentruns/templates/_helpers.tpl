{{/*
Names are fixed, not made from the release's: the CRDs and policies are cluster-wide and know one operator account,
so there is one installation a cluster.
*/}}
{{- define "agentruns.operator" -}}agentruns-operator{{- end }}

{{/* The account of `helm test`, and all that it makes. */}}
{{- define "agentruns.test" -}}agentruns-test{{- end }}

{{/* The operator as the API server knows it. */}}
{{- define "agentruns.user" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "agentruns.operator" . }}
{{- end }}

{{- define "agentruns.labels" -}}
app.kubernetes.io/name: agentruns
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "agentruns.selector" -}}
app.kubernetes.io/name: agentruns
app.kubernetes.io/component: operator
{{- end }}

{{/* The operator's image. */}}
{{- define "agentruns.image" -}}
{{- include "agentruns.imageOf" (dict "root" . "image" .Values.image) }}
{{- end }}

{{/* The name of an image: by digest if it has one. Takes root and image. */}}
{{- define "agentruns.imageOf" -}}
{{ .root.Values.global.imageRegistry | default .image.registry }}/{{ .image.repository }}
{{- with .image.digest }}@{{ . }}{{ else }}:{{ .image.tag }}{{ end }}
{{- end }}

{{/* The security of every pod of this chart: what the Pod Security Standard `restricted` asks for, and a read-only root. */}}
{{- define "agentruns.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}
{{- define "agentruns.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Where the pods of this chart run and how their image is pulled. */}}
{{- define "agentruns.placement" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
{{- range . }}
- name: {{ . }}
{{- end }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 0 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{/*
Rules for an account wherever runs are: one ClusterRole, or a Role in each of watchNamespaces.
Takes root, name (of role, binding and account), rules (text) and annotations (text).
*/}}
{{- define "agentruns.grant" -}}
{{- $grant := . }}
{{- range .root.Values.watchNamespaces | default (list "") }}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ ternary "Role" "ClusterRole" (ne . "") }}
metadata: {{- include "agentruns.grantMetadata" (dict "grant" $grant "namespace" .) | nindent 2 }}
rules: {{- $grant.rules | nindent 0 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ ternary "RoleBinding" "ClusterRoleBinding" (ne . "") }}
metadata: {{- include "agentruns.grantMetadata" (dict "grant" $grant "namespace" .) | nindent 2 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ ternary "Role" "ClusterRole" (ne . "") }}
  name: {{ $grant.name }}
subjects:
- {kind: ServiceAccount, name: {{ $grant.name }}, namespace: {{ $grant.root.Release.Namespace }}}
---
{{ end }}
{{- end }}
{{- define "agentruns.grantMetadata" -}}
name: {{ .grant.name }}
{{- with .namespace }}
namespace: {{ . }}
{{- end }}
labels: {{- include "agentruns.labels" .grant.root | nindent 2 }}
{{- with .grant.annotations }}
annotations: {{- . | nindent 2 }}
{{- end }}
{{- end }}
