{{/* Policies stay when the release goes, like the CRDs: without them a decision could be forged while nobody looks. */}}
{{- define "agentruns.policyMetadata" -}}
name: {{ .name }}
labels: {{- include "agentruns.labels" .root | nindent 2 }}
annotations: {helm.sh/resource-policy: keep}
{{- end }}

{{/* Puts a policy to work, everywhere. Takes root, name and kind (Validating or Mutating). */}}
{{- define "agentruns.enforced" }}
---
apiVersion: admissionregistration.k8s.io/v1
kind: {{ .kind }}AdmissionPolicyBinding
metadata: {{- include "agentruns.policyMetadata" . | nindent 2 }}
spec:
  policyName: {{ .name }}
  {{- if eq .kind "Validating" }}
  validationActions: [Deny]
  {{- end }}
{{- end }}

{{/* The CEL variables that say who asks. */}}
{{- define "agentruns.who" -}}
- name: operator
  expression: request.userInfo.username == '{{ include "agentruns.user" . }}'
# Kubernetes' own controllers.
- name: cluster
  expression: >-
    request.userInfo.username.startsWith('system:serviceaccount:kube-system:') ||
    request.userInfo.username == 'system:kube-controller-manager'
# Who holds the custom verb `manage` on `sandboxes`: a person who must put something right by hand.
- name: manager
  expression: >-
    authorizer.group('agentrun.dev').resource('sandboxes').namespace(request.namespace).check('manage').allowed()
{{- end }}
