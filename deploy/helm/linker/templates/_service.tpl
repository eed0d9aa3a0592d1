{{/* What is particular to the linker. */}}

{{- define "kinlink.other" -}}pseudonymizer{{- end -}}

{{- define "kinlink.localData" -}}
{{- if .Values.store.url -}}false{{- else -}}true{{- end -}}
{{- end -}}

{{/* Unfinished deliveries are kept on disk in any case, to be resumed. */}}
{{- define "kinlink.localState" -}}true{{- end -}}

{{- define "kinlink.synthetic" -}}{{- eq (.Values.config.suites | toJson) "[\"synthetic\"]" -}}{{- end -}}

{{- define "kinlink.moreEnvFrom" -}}{{- end -}}

{{- define "kinlink.oneOnly" -}}
this version's linker is one process (runs and readers' snapshots are held in it)
{{- end -}}

{{- define "kinlink.disclosureRefusals" -}}
{{- if and (not .Values.disclosureSigners) (ne (include "kinlink.synthetic" .) "true") -}}
{{- fail "disclosureSigners is empty: the disclosure policy for real identifiers is signed; name the people who sign it" -}}
{{- end -}}
{{- if and .Values.disclosureSigners (not (and .Values.files.disclosure .Values.files.disclosureSignatures)) -}}
{{- fail "disclosureSigners: install with --set-file files.disclosure=disclosure.toml and files.disclosureSignatures=disclosure.toml.signatures" -}}
{{- end -}}
{{- end -}}

{{- define "kinlink.configFiles" -}}
config.toml: |
  {{- include "kinlink.serverConfig" . | nindent 2 }}
  purpose = {{ .Values.config.purpose | quote }}
  municipality = {{ int .Values.config.municipality }}
  suites = {{ .Values.config.suites | toJson }}
  pseudonymizer = {{ .Values.config.pseudonymizer | quote }}
  client_certificate = "/run/kinlink/client/tls.crt"
  client_key = "/run/kinlink/client/tls.key"
  staging = "/var/lib/kinlink/staging"
  {{- if .Values.store.url }}
  store_url = {{ .Values.store.url | quote }}
  {{- with .Values.store.options }}
  store_options = { {{- range $i, $key := keys . | sortAlpha }}{{ if $i }},{{ end }} {{ $key }} = {{ get $.Values.store.options $key | quote }}{{ end }} }
  {{- end }}
  {{- else }}
  store = "/var/lib/kinlink/store"
  {{- end }}
  {{- range $name := list "access" "disclosure" "linkage" "registry" }}
  {{- if get $.Values.files $name }}
  {{ $name }} = "/etc/kinlink/{{ $name }}.toml"
  {{- end }}
  {{- end }}
  {{- with .Values.disclosureSigners }}
  disclosure_signers = [
  {{- range . }}
    { name = {{ .name | quote }}, public_key = {{ .publicKey | quote }} },
  {{- end }}
  ]
  {{- end }}
{{- range $name := list "access" "linkage" "registry" }}
{{- with get $.Values.files $name }}
{{ $name }}.toml: |
  {{- . | nindent 2 }}
{{- end }}
{{- end }}
{{- include "kinlink.disclosureRefusals" . }}
{{/* Byte for byte: it is signed. */}}
{{- with .Values.files.disclosure }}
disclosure.toml: {{ . | toJson }}
{{- end }}
{{- with .Values.files.disclosureSignatures }}
disclosure.toml.signatures: {{ . | toJson }}
{{- end }}
{{- end -}}

{{- define "kinlink.env" -}}
{{- with .Values.database.urlSecret }}
{{- if .name }}
- name: KINLINK_DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ .name }}
      key: {{ .key }}
{{- end }}
{{- end }}
{{- with .Values.store.optionsSecret }}
{{- if .name }}
{{- if $.Values.store.options }}
{{- fail "store.options and store.optionsSecret are both set: the secret would replace the options; put them all in it" }}
{{- end }}
- name: KINLINK_STORE_OPTIONS
  valueFrom:
    secretKeyRef:
      name: {{ .name }}
      key: {{ .key }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "kinlink.mounts" }}
- name: client
  mountPath: /run/kinlink/client
  readOnly: true
{{- end -}}

{{- define "kinlink.volumes" }}
- name: client
  secret:
    secretName: {{ .Values.clientTls.secretName }}
    defaultMode: 0440
{{- end -}}
