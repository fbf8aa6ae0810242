{{/* Labels of an object. Takes (list root part). */}}
{{- define "labels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: invoice-platform
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ $root.Chart.Name }}-{{ $root.Chart.Version }}
{{- end }}

{{/* Labels of pods, which selectors use: never changed between versions. */}}
{{- define "selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: invoice-platform
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Of a pod: what the level "restricted" of pod security wants. Takes (list root userId). */}}
{{- define "pod" -}}
{{- $root := index . 0 -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ index . 1 }}
  runAsGroup: {{ index . 1 }}
  fsGroup: {{ index . 1 }}
  seccompProfile: {type: RuntimeDefault}
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{/* Of a container. */}}
{{- define "container" -}}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* Where the lake is, as environment variables. */}}
{{- define "lake" -}}
- {name: LAKE_URL, value: {{ .Values.lake.url | quote }}}
- {name: AWS_REGION, value: {{ .Values.lake.region | quote }}}
{{- with .Values.lake.endpoint }}
- {name: AWS_ENDPOINT_URL, value: {{ . | quote }}}
{{- if hasPrefix "http://" . }}
- {name: AWS_ALLOW_HTTP, value: "true"}
{{- end }}
{{- end }}
{{- end }}

{{/* A map of the values as environment variables. */}}
{{- define "env" -}}
{{- range $name, $value := . }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}

{{/* An egress rule. Takes a destination of the values: to and port. */}}
{{- define "egress" -}}
- ports: [{protocol: TCP, port: {{ .port }}}]
  {{- with .to }}
  to: {{ toJson . }}
  {{- end }}
{{- end }}
