{{- define "keelson.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- define "keelson.labels" -}}
app.kubernetes.io/name: keelson
app.kubernetes.io/component: {{ . }}
app.kubernetes.io/part-of: keelson
{{- end -}}

{{- define "keelson.selector" -}}
app.kubernetes.io/name: keelson
app.kubernetes.io/component: {{ . }}
{{- end -}}

{{- define "keelson.apiServer" -}}
envFrom:
  - configMapRef:
      name: keelson-api-server
      optional: true
{{- end -}}
