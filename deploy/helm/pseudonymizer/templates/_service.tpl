{{/* What is particular to the pseudonymizer. */}}

{{- define "kinlink.other" -}}linker{{- end -}}

{{/* All its state is in the database. */}}
{{- define "kinlink.localData" -}}false{{- end -}}

{{- define "kinlink.configFiles" -}}
config.toml: |
  listen = "0.0.0.0:8443"
  certificate = "/run/kinlink/tls/tls.crt"
  key = "/run/kinlink/tls/tls.key"
  ca = "/run/kinlink/tls/ca.crt"
  trust_domain = {{ .Values.config.trustDomain | quote }}
  deny_list = "/run/kinlink/deny/deny_list"
  {{- if not .Values.database.urlSecret.name }}
  database_url = "sqlite:////var/lib/kinlink/pseudonymizer.db"
  {{- end }}
  {{- with .Values.config.otlpEndpoint }}
  otlp_endpoint = {{ . | quote }}
  {{- end }}
  max_message_bytes = {{ int64 .Values.config.maxMessageBytes }}
  threads = {{ int .Values.config.threads }}
  kek = "file:/run/kinlink/kek/{{ .Values.keyEncryptionKey.secretKey }}"
  policy = "/etc/kinlink/policy.toml"
policy.toml: |
  {{- required "policy is empty: install with --set-file policy=policy.toml (suites, domains, grants, budgets)" .Values.policy | nindent 2 }}
{{- end -}}

{{- define "kinlink.env" -}}
{{- with .Values.database.urlSecret -}}
{{- if .name -}}
- name: KINLINK_DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ .name }}
      key: {{ .key }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "kinlink.mounts" }}
- name: kek
  mountPath: /run/kinlink/kek
  readOnly: true
{{- end -}}

{{- define "kinlink.volumes" }}
- name: kek
  secret:
    secretName: {{ .Values.keyEncryptionKey.secretName }}
    defaultMode: 0440
{{- end -}}
