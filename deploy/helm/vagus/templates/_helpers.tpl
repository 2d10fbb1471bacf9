{{/* Names and labels; everything that all processes have in common. */}}

{{- define "vagus.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "vagus.labels" -}}
app.kubernetes.io/part-of: vagus
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* What selects the pods of a component: dict "root" $ "component" name. */}}
{{- define "vagus.selector" -}}
app.kubernetes.io/name: vagus-{{ .component }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{- define "vagus.servers" -}}
{{- if .Values.servers -}}
{{ .Values.servers }}
{{- else if .Values.nats.enabled -}}
nats://{{ .Release.Name }}-nats:4222
{{- else -}}
{{- fail "servers: name the NATS servers, or let the chart run its own with nats.enabled" -}}
{{- end -}}
{{- end }}

{{/* The image of a target: dict "root" $ "target" name "image" override. */}}
{{- define "vagus.image" -}}
{{- $image := .root.Values.image -}}
{{- .override | default (printf "%s%s:%s" $image.prefix .target ($image.tag | default .root.Chart.AppVersion)) -}}
{{- end }}

{{/* Who a process is for NATS, and what all are told: dict "root" $ "user" name. */}}
{{- define "vagus.environment" -}}
{{- $values := .root.Values -}}
- name: VAGUS_SERVER
  value: {{ include "vagus.servers" .root | quote }}
- name: VAGUS_ROOT_SUBJECT
  value: {{ $values.rootSubject | quote }}
- name: VAGUS_PARTITIONS
  value: {{ $values.partitions | quote }}
- name: VAGUS_REPLICAS
  value: {{ $values.replicas | quote }}
- name: VAGUS_NKEY
  value: /run/secrets/vagus/nkey/{{ .user }}.nk
- name: VAGUS_INBOX_PREFIX
  value: _INBOX_{{ .user }}
{{- if $values.secrets.ca }}
- name: VAGUS_TLS_CA
  value: /run/secrets/vagus/ca/{{ $values.secrets.caKey }}
{{- end }}
{{- end }}

{{- define "vagus.mounts" -}}
- name: nkey
  mountPath: /run/secrets/vagus/nkey
  readOnly: true
{{- if .root.Values.secrets.ca }}
- name: ca
  mountPath: /run/secrets/vagus/ca
  readOnly: true
{{- end }}
- name: tmp
  mountPath: /tmp
{{- end }}

{{- define "vagus.volumes" -}}
- name: nkey
  secret:
    secretName: {{ .root.Values.secrets.nkeys }}
    items:
      - key: {{ .user }}.nk
        path: {{ .user }}.nk
{{- if .root.Values.secrets.ca }}
- name: ca
  secret:
    secretName: {{ .root.Values.secrets.ca }}
    items:
      - key: {{ .root.Values.secrets.caKey }}
        path: {{ .root.Values.secrets.caKey }}
{{- end }}
- name: tmp
  emptyDir:
    sizeLimit: 64Mi
{{- end }}

{{- define "vagus.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "vagus.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Every component with what is its own, as YAML: the pools of tool runners are components of their own. */}}
{{- define "vagus.components" -}}
{{- $values := .Values -}}
kernel:
  user: kernel
  settings: {{ toJson $values.kernel }}
  workspace: true
  environment:
    VAGUS_PROVIDER: {{ $values.kernel.provider | quote }}
policygate:
  user: policygate
  settings: {{ toJson $values.policygate }}
  grant: true
  environment:
    VAGUS_GRANT_SEED_FILE: /run/secrets/vagus/grant/grant.seed
approver:
  user: approver
  settings: {{ toJson $values.approver }}
  environment: {}
relay:
  user: relay
  settings: {{ toJson $values.relay }}
  environment: {}
sink:
  user: sink
  settings: {{ toJson $values.sink }}
  environment:
    VAGUS_SINKS: {{ toJson (dict "sinks" $values.sink.sinks) | quote }}
{{- range $name, $pool := $values.toolrunner.pools }}
{{- $settings := mergeOverwrite (deepCopy $values.toolrunner.defaults) $pool }}
toolrunner-{{ $name }}:
  user: toolrunner
  settings: {{ toJson $settings }}
  pool: {{ $name }}
  workspace: {{ $settings.workspaceTools }}
  environment:
    VAGUS_GRANT_PUBLIC_KEYS: {{ join "," $values.grantPublicKeys | quote }}
    VAGUS_POOLS: {{ $name | quote }}
    VAGUS_SLOTS: {{ $settings.slots | quote }}
    VAGUS_TOOLS: {{ join "," $settings.tools | quote }}
    VAGUS_WORKSPACE_TOOLS: {{ $settings.workspaceTools | quote }}
    VAGUS_ALLOWED_COMMANDS: {{ join "," $settings.allowedCommands | quote }}
{{- end }}
{{- end }}
