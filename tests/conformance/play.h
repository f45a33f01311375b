/* Plays a broker's or client's case on a stage, step by step. */
#ifndef CONFORMANCE_PLAY_H
#define CONFORMANCE_PLAY_H

#include "stage.h"
#include "vector_file.h"

/* cut: input goes in pieces of so many bytes; 0: whole. Takes the stage. False with a sentence if a step failed. */
bool conversation_play(const struct vector_case *c, struct stage *take_stage, size_t cut, char *error, size_t cap);

#endif
