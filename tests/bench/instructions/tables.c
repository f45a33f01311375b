#include "scenario.h"

const struct scenario *const scenario_tables[] = {broker_scenarios, session_scenarios, stored_scenarios,
                                                  client_scenarios, NULL};
