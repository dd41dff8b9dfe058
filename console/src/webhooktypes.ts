// The objects of webhooks.
import type { Attempt } from './types';

export interface Webhook {
  id: string; name: string; url: string; organization_id: string | null; events: string[]; enabled: boolean;
  disabled_reason: string | null; failing_since: string | null; old_secret_until: string | null; created_at: string;
}
export interface WebhookDelivery {
  id: string; event: string; device_id: string | null; state: 'pending' | 'succeeded' | 'failed';
  attempts: Attempt[];
  payload: unknown; created_at: string; next_attempt_at: string | null; completed_at: string | null;
}
