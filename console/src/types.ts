// The objects of the API that the console shows, as the document says them: the client's types, and what is the console's own.
import type { Alarm, Value } from '../../client/ts/src/index';

export type {
  Alarm, AlarmDetails, AuditEntry, Command, CommandState, Dashboard, DatabaseFigures, Delivery, Device, DeviceToken, Export, ExportFilters,
  ExportFormat, ExportType, Heartbeat, Integration, Job, JobState, KeyScope, Log, ManagedUser, Member, NewCommand, NewDeviceToken, Notification, NotificationSettings,
  NotificationType, Organization, ProvisioningKey, QueueName, Rule, RuleAction, RuleSchedule, ScheduleFrequency, States, Summary, Tokens,
  Twin, Usage, User, UserRole, Value, Webhook, WebhookDelivery, Weekday,
} from '../../client/ts/src/index';
export type {
  DeliveryAttempt as Attempt, DeviceConnection as Connection, ExportSchedule as Schedule, LatestLog as Latest, ListedAPIKey as APIKey,
  NotificationChannel as Channel, OrganizationRole as OrgRole, RuleCondition as Condition, RuleEpisode as Episode, TrendPoint as Point,
} from '../../client/ts/src/index';

export type Severity = Alarm['severity'];

export interface List<T> { items: T[]; next_cursor: string | null; total?: number }

export interface Reading { value: Value; timestamp: string }

// Many logs of a device at once, as its stream sends them.
export interface LogSummary { device_id: string; count: number; latest: Record<string, Reading> }

export interface Health { status: string; version: string; uptime_seconds: number; dependencies: Record<string, { state: string; latency_ms: number; required: boolean }> }
