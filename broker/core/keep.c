#include "model.h"

bool session_load(struct broker *broker, mps_view key, mps_view value)
{
    (void)broker, (void)key, (void)value;
    return true;
}
bool subscription_load(struct broker *broker, mps_view key, mps_view value)
{
    (void)broker, (void)key, (void)value;
    return true;
}
bool will_load(struct broker *broker, mps_view key, mps_view value)
{
    (void)broker, (void)key, (void)value;
    return true;
}
bool pids_load(struct broker *broker, mps_view key, mps_view value)
{
    (void)broker, (void)key, (void)value;
    return true;
}
void sessions_loaded(struct broker *broker)
{
    cursors_loaded(broker);
}
bool session_is_kept(const struct session *session)
{
    (void)session;
    return false;
}
mps_view subscription_key(mps_view id, uint32_t sid, uint8_t room[STORE_KEY_MAX])
{
    (void)id, (void)sid;
    return (mps_view){room, 0};
}
struct subscription *subscription_of_key(const struct broker *broker, mps_view key)
{
    (void)broker, (void)key;
    return NULL;
}
