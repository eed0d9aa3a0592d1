{{/* What is particular to the pseudonymizer. */}}

{{- define "kinlink.other" -}}linker{{- end -}}

{{/* All its state is in the database. */}}
{{- define "kinlink.localData" -}}false{{- end -}}

{{- define "kinlink.localState" -}}
{{- if .Values.database.urlSecret.name -}}false{{- else -}}true{{- end -}}
{{- end -}}

{{/* What is not clearly synthetic is real. */}}
{{- define "kinlink.synthetic" -}}
{{- regexMatch "(?m)^suites *= *\\[ *\"synthetic\" *\\]" .Values.policy -}}
{{- end -}}

{{- define "kinlink.moreEnvFrom" -}}
{{- with .Values.keyEncryptionKey.environmentSecret }}
- secretRef:
    name: {{ . }}
{{- end }}
{{- end -}}

{{- define "kinlink.kek" -}}
{{- with .Values.keyEncryptionKey -}}
{{- if .uri -}}
{{ .uri }}
{{- else if .secretName -}}
file:/run/kinlink/kek/{{ .secretKey }}
{{- else -}}
{{- fail "keyEncryptionKey is empty: set uri (pkcs11:, vault:, azurekv:), or secretName for a key in a Secret" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "kinlink.oneOnly" -}}{{- end -}}

{{- define "kinlink.configFiles" -}}
config.toml: |
  {{- include "kinlink.serverConfig" . | nindent 2 }}
  kek = {{ include "kinlink.kek" . | quote }}
  {{- with .Values.keyEncryptionKey.previousUri }}
  kek_previous = {{ . | quote }}
  {{- end }}
  policy = "/etc/kinlink/policy.toml"
  genesis = "/etc/kinlink/genesis.toml"
policy.toml: |
  {{- required "policy is empty: install with --set-file policy=policy.toml (suites, domains, grants, budgets)" .Values.policy | nindent 2 }}
{{/* Byte for byte: its hash is the log's first entry. */}}
genesis.toml: {{ required "genesis is empty: install with --set-file genesis=genesis.toml (the people who may sign changes of keys)" .Values.genesis | toJson }}
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
{{- if .Values.keyEncryptionKey.secretName }}
- name: kek
  mountPath: /run/kinlink/kek
  readOnly: true
{{- end }}
{{- if .Values.keyEncryptionKey.moduleVolume }}
- name: pkcs11
  mountPath: /opt/pkcs11
  readOnly: true
{{- end }}
{{- end -}}

{{- define "kinlink.volumes" }}
{{- with .Values.keyEncryptionKey.secretName }}
- name: kek
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- with .Values.keyEncryptionKey.moduleVolume }}
- name: pkcs11
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
