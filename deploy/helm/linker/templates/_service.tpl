{{/* What is particular to the linker. */}}

{{- define "kinlink.other" -}}pseudonymizer{{- end -}}

{{- define "kinlink.localData" -}}
{{- if .Values.store.url -}}false{{- else -}}true{{- end -}}
{{- end -}}

{{- define "kinlink.configFiles" -}}
config.toml: |
  {{- include "kinlink.serverConfig" . | nindent 2 }}
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

{{- define "kinlink.mounts" -}}{{- end -}}
{{- define "kinlink.volumes" -}}{{- end -}}
