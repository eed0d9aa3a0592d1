{{/* What is particular to the pseudonymizer. */}}

{{- define "kinlink.other" -}}linker{{- end -}}

{{/* All its state is in the database. */}}
{{- define "kinlink.localData" -}}false{{- end -}}

{{- define "kinlink.localState" -}}
{{- if .Values.database.urlSecret.name -}}false{{- else -}}true{{- end -}}
{{- end -}}

{{- define "kinlink.oneOnly" -}}{{- end -}}

{{- define "kinlink.configFiles" -}}
config.toml: |
  {{- include "kinlink.serverConfig" . | nindent 2 }}
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
